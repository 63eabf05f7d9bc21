-- An account is an id and the hash of its bearer token; the token itself is never stored.
create table accounts (
    id text primary key,
    token_hash bytea not null unique,
    created_at bigint not null -- milliseconds since the Unix epoch
);
