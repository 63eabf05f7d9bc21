-- What is known of an attachment; its bytes are in S3 under its id.
create table attachments (
    id text primary key not null,
    owner text not null references accounts (id),
    size integer not null, -- bytes
    sha256 text not null,
    created_at integer not null -- milliseconds since the Unix epoch
) strict;

-- Who may fetch an attachment besides its owner; outlives the message that gave the leave.
create table attachment_recipients (
    attachment text not null references attachments (id),
    recipient text not null references accounts (id),
    primary key (attachment, recipient)
) strict, without rowid;

-- Messages that are not acked yet; an ack deletes its message. Numbers are never used again.
create table messages (
    sequence integer primary key autoincrement,
    id text not null unique,
    recipient text not null references accounts (id),
    sender text not null references accounts (id),
    body text not null,
    attachment text references attachments (id),
    sent_at integer not null -- milliseconds since the Unix epoch
) strict;

create index messages_of_recipient on messages (recipient, sequence);
