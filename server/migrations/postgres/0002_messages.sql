-- What is known of an attachment; its bytes are in S3 under its id.
create table attachments (
    id text primary key,
    owner text not null references accounts (id),
    size bigint not null, -- bytes
    sha256 text not null,
    created_at bigint not null -- milliseconds since the Unix epoch
);

-- Who may fetch an attachment besides its owner; outlives the message that gave the leave.
create table attachment_recipients (
    attachment text not null references attachments (id),
    recipient text not null references accounts (id),
    primary key (attachment, recipient)
);

-- Messages that are not acked yet; an ack deletes its message.
create table messages (
    sequence bigint generated always as identity primary key,
    id text not null unique,
    recipient text not null references accounts (id),
    sender text not null references accounts (id),
    body text not null,
    attachment text references attachments (id),
    sent_at bigint not null -- milliseconds since the Unix epoch
);

create index messages_of_recipient on messages (recipient, sequence);
