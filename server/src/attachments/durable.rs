//! The embedded S3's files, made to last: what it has answered survives a power failure, and what is
//! deleted leaves nothing behind.
//!
//! Knows which files `s3s-fs` keeps of an object: its bytes, and beside the bucket its checksums and
//! attributes. Deliberately offers no more of S3 than the relay asks for.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use async_trait::async_trait;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use s3s::{
    S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result,
    dto::{
        AbortMultipartUploadInput, AbortMultipartUploadOutput, CompleteMultipartUploadInput,
        CompleteMultipartUploadOutput, CreateMultipartUploadInput, CreateMultipartUploadOutput,
        DeleteObjectInput, DeleteObjectOutput, GetObjectInput, GetObjectOutput, PutObjectInput,
        PutObjectOutput, UploadPartInput, UploadPartOutput,
    },
};
use s3s_fs::FileSystem;
use tokio::task::spawn_blocking;

/// Whether a file is of an upload that is not complete: a part, or what is known of it.
fn is_unfinished(name: &str) -> bool {
    name.starts_with(".upload") || (name.starts_with(".bucket-") && name.contains(".upload-"))
}

/// Makes the directories of a bucket, for good, and removes what a former process did not finish: the
/// keys with which it began are gone, so nobody could.
pub(super) async fn prepare(root: &Path, bucket: &str) -> io::Result<()> {
    let (root, bucket) = (root.to_owned(), root.join(bucket));
    blocking(move || {
        fs::create_dir_all(bucket)?;
        for entry in fs::read_dir(&root)? {
            let entry = entry?;
            let name = entry.file_name();
            if is_unfinished(&name.to_string_lossy()) {
                fs::remove_file(entry.path())?;
            }
        }
        sync(&root)?;
        root.parent().map_or(Ok(()), sync)
    })
    .await
}

/// Objects as files, synced.
#[derive(Debug)]
pub(super) struct Durable {
    files: FileSystem,
    root: PathBuf,
}

impl Durable {
    /// The objects below `root`; the error is a text.
    pub(super) fn open(root: PathBuf) -> Result<Self, String> {
        match FileSystem::new(&root) {
            Ok(files) => Ok(Self { files, root }),
            Err(error) => Err(format!("{error:?}")),
        }
    }

    /// What is kept of an object.
    fn object(&self, bucket: &str, key: &str) -> Kept {
        let encode = |name: &str| BASE64_URL_SAFE_NO_PAD.encode(name);
        let beside = format!(".bucket-{}.object-{}", encode(bucket), encode(key));
        Kept {
            bytes: self.root.join(bucket).join(key),
            checksums: self.root.join(format!("{beside}.internal.json")),
            attributes: self.root.join(format!("{beside}.metadata.json")),
        }
    }
}

/// The files of an object.
struct Kept {
    bytes: PathBuf,
    checksums: PathBuf,
    /// There are none where its maker gave it none.
    attributes: PathBuf,
}

impl Kept {
    /// Syncs every file and every directory that names one.
    fn sync(&self) -> io::Result<()> {
        sync(&self.bytes)?;
        sync(&self.checksums)?;
        absent_is_well(sync(&self.attributes))?;
        self.sync_directories()
    }

    /// Removes what the bytes leave behind, and has all of it stay away.
    fn remove_rest(&self) -> io::Result<()> {
        absent_is_well(fs::remove_file(&self.checksums))?;
        absent_is_well(fs::remove_file(&self.attributes))?;
        self.sync_directories()
    }

    fn sync_directories(&self) -> io::Result<()> {
        let files = [&self.bytes, &self.checksums];
        let mut directories = files.into_iter().filter_map(|file| file.parent());
        directories.try_for_each(sync)
    }
}

/// Has the kernel write a file or a directory to the disk.
fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn absent_is_well(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Does what waits for the disk where that holds up nobody.
async fn blocking(work: impl FnOnce() -> io::Result<()> + Send + 'static) -> io::Result<()> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}

/// S3's word for a disk that failed.
fn failed(error: io::Error) -> S3Error {
    S3Error::with_source(S3ErrorCode::InternalError, Box::new(error))
}

#[async_trait]
impl S3 for Durable {
    async fn put_object(
        &self,
        request: S3Request<PutObjectInput>,
    ) -> S3Result<S3Response<PutObjectOutput>> {
        let kept = self.object(&request.input.bucket, &request.input.key);
        let answer = self.files.put_object(request).await?;
        blocking(move || kept.sync()).await.map_err(failed)?;
        Ok(answer)
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let kept = self.object(&request.input.bucket, &request.input.key);
        let answer = self.files.complete_multipart_upload(request).await?;
        blocking(move || kept.sync()).await.map_err(failed)?;
        Ok(answer)
    }

    async fn delete_object(
        &self,
        request: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        let kept = self.object(&request.input.bucket, &request.input.key);
        let answer = self.files.delete_object(request).await?;
        blocking(move || kept.remove_rest()).await.map_err(failed)?;
        Ok(answer)
    }

    async fn get_object(
        &self,
        request: S3Request<GetObjectInput>,
    ) -> S3Result<S3Response<GetObjectOutput>> {
        self.files.get_object(request).await
    }

    async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        self.files.create_multipart_upload(request).await
    }

    async fn upload_part(
        &self,
        request: S3Request<UploadPartInput>,
    ) -> S3Result<S3Response<UploadPartOutput>> {
        self.files.upload_part(request).await
    }

    async fn abort_multipart_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        self.files.abort_multipart_upload(request).await
    }
}
