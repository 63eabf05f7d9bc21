-- An account is an id and the hash of its bearer token; the token itself is never stored.
create table accounts (
    id text primary key not null,
    token_hash blob not null unique,
    created_at integer not null -- milliseconds since the Unix epoch
) strict;
