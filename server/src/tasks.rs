//! The tasks that the server cannot do without, each with what it is for: none of them ends by itself,
//! and when one does, it is known which.
//!
//! Deliberately starts none of them again: what a panic left behind is known to nobody, and whoever
//! supervises the process starts all of it anew.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::task::{Id, JoinError, JoinSet};

/// Whether every task still runs. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wholeness {
    is_broken: Arc<AtomicBool>,
}

impl Wholeness {
    /// Whether no task has ended.
    pub(crate) fn is_whole(&self) -> bool {
        !self.is_broken.load(Ordering::SeqCst)
    }
}

/// Held by a task for as long as it runs: however it ends, it is dropped.
struct Running(Wholeness);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.is_broken.store(true, Ordering::SeqCst);
    }
}

/// Tasks that run for as long as this lives.
#[derive(Debug)]
pub(crate) struct Tasks {
    set: JoinSet<()>,
    purposes: HashMap<Id, &'static str>,
    wholeness: Wholeness,
}

/// A task has ended, so that what it was for is no longer done.
#[derive(Debug, thiserror::Error)]
#[error("the task that {purpose} has ended, and the server cannot go on without it")]
pub struct TaskEnded {
    purpose: &'static str,
    /// Its panic, where there was one.
    #[source]
    panic: Option<JoinError>,
}

impl Tasks {
    /// No tasks; `wholeness` is theirs, and of all others that share it.
    pub(crate) fn new(wholeness: &Wholeness) -> Self {
        Self {
            set: JoinSet::new(),
            purposes: HashMap::new(),
            wholeness: wholeness.clone(),
        }
    }

    /// Starts a task; `purpose` is what it does, in the third person.
    pub(crate) fn spawn(
        &mut self,
        purpose: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let running = Running(self.wholeness.clone());
        let task = async move {
            let _running = running;
            task.await;
        };
        let id = self.set.spawn(task).id();
        self.purposes.insert(id, purpose);
    }

    /// Waits for the first task that ends; for ever where there is none.
    ///
    /// Cancel safe: an end that is not returned is returned by the next call.
    pub(crate) async fn ended(&mut self) -> TaskEnded {
        match self.next().await {
            Some(ended) => ended,
            None => std::future::pending().await,
        }
    }

    /// Waits until all have ended, as they were told to; the first panic is returned.
    pub(crate) async fn finish(&mut self) -> Option<TaskEnded> {
        let mut first = None;
        while let Some(ended) = self.next().await {
            if ended.panic.is_some() {
                first.get_or_insert(ended);
            }
        }
        first
    }

    async fn next(&mut self) -> Option<TaskEnded> {
        let (id, panic) = match self.set.join_next_with_id().await? {
            Ok((id, ())) => (id, None),
            Err(error) => (error.id(), Some(error)),
        };
        let purpose = self.purposes.remove(&id).unwrap_or_default();
        Some(TaskEnded { purpose, panic })
    }
}

#[cfg(test)]
mod tests {
    use std::{error::Error as _, future::pending};

    use super::*;

    #[tokio::test]
    async fn the_task_that_ends_is_named_with_its_panic() {
        let wholeness = Wholeness::default();
        let mut tasks = Tasks::new(&wholeness);
        tasks.spawn("waits", pending());
        assert!(wholeness.is_whole());
        tasks.spawn("counts sheep", async { panic!("as a bug would") });
        let ended = tasks.ended().await;
        assert!(!wholeness.is_whole());
        let said = ended.to_string();
        assert!(
            said.starts_with("the task that counts sheep has ended"),
            "{said}"
        );
        let source = ended.source().unwrap().to_string();
        assert!(source.contains("as a bug would"), "{source}");

        tasks.spawn("returns", async {});
        let ended = tasks.ended().await;
        assert!(ended.source().is_none());
        assert!(ended.to_string().contains("that returns has ended"));
    }

    #[tokio::test]
    async fn those_that_end_when_told_are_no_news_and_a_panic_is() {
        let mut tasks = Tasks::new(&Wholeness::default());
        tasks.spawn("returns", async {});
        assert!(tasks.finish().await.is_none());
        tasks.spawn("returns", async {});
        tasks.spawn("counts sheep", async { panic!("as a bug would") });
        let said = tasks.finish().await.unwrap().to_string();
        assert!(said.contains("counts sheep"), "{said}");
    }
}
