-- Objects that may be in S3 and that no attachment refers to: of uploads that are not complete, and of
-- attachments that were removed.
create table unreferenced_objects (
    id text primary key not null,
    since integer not null -- when the upload began, in milliseconds since the Unix epoch; 0: to be removed
) strict, without rowid;

-- Whether a message waits that refers to an attachment.
create index messages_of_attachment on messages (attachment) where attachment is not null;

-- With the sender, so that what waits is counted for a recipient and for a sender in one walk.
drop index messages_of_recipient;
create index messages_of_recipient on messages (recipient, sequence, sender);
