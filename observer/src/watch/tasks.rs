//! The tasks of a watch, each with what it is for: none of them ends by itself, and when one does, it is
//! known which.

use std::collections::HashMap;

use tokio::task::{AbortHandle, Id, JoinError, JoinSet};

/// Tasks that run for as long as this lives.
#[derive(Debug, Default)]
pub struct Tasks {
    set: JoinSet<()>,
    purposes: HashMap<Id, String>,
    /// Those of a target, by its name.
    of_targets: HashMap<String, Vec<AbortHandle>>,
}

/// A task has ended, so that what it was for is no longer done.
#[derive(Debug, thiserror::Error)]
#[error("the task that {purpose} has ended, and the observer cannot go on without it")]
pub struct TaskEnded {
    purpose: String,
    /// Its panic, where there was one.
    #[source]
    panic: Option<JoinError>,
}

impl Tasks {
    /// Starts a task; `purpose` is what it does, in the third person.
    pub fn spawn(
        &mut self,
        purpose: impl Into<String>,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let id = self.set.spawn(task).id();
        self.purposes.insert(id, purpose.into());
    }

    /// The same, of a target: until [`Self::stop`].
    pub fn spawn_for(
        &mut self,
        target: &str,
        purpose: &str,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let handle = self.set.spawn(task);
        self.purposes
            .insert(handle.id(), format!("{purpose} {target}"));
        let of_target = self.of_targets.entry(target.to_owned()).or_default();
        of_target.push(handle);
    }

    /// Stops what was started for a target.
    pub fn stop(&mut self, target: &str) {
        for task in self.of_targets.remove(target).unwrap_or_default() {
            task.abort();
        }
    }

    /// Waits for the first task that ends and was not stopped; for ever where there is none.
    pub async fn ended(&mut self) -> TaskEnded {
        loop {
            let Some(ended) = self.set.join_next_with_id().await else {
                return std::future::pending().await;
            };
            let (id, panic) = match ended {
                Ok((id, ())) => (id, None),
                Err(error) => (error.id(), Some(error)),
            };
            let purpose = self.purposes.remove(&id).unwrap_or_default();
            if !panic.as_ref().is_some_and(JoinError::is_cancelled) {
                return TaskEnded { purpose, panic };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::Chain;

    #[tokio::test]
    async fn the_task_that_ends_is_named_with_its_panic() {
        let mut tasks = Tasks::default();
        tasks.spawn("waits", std::future::pending());
        tasks.spawn("counts sheep", async { panic!("a fault") });
        let text = Chain(&tasks.ended().await).to_string();
        assert!(
            text.starts_with("the task that counts sheep has ended"),
            "{text}"
        );
        assert!(
            text.ends_with("panicked with message \"a fault\""),
            "{text}"
        );

        tasks.spawn_for("chat", "judges", std::future::pending());
        tasks.stop("chat");
        tasks.spawn("returns", async {});
        let text = Chain(&tasks.ended().await).to_string();
        assert!(
            text.starts_with("the task that returns has ended"),
            "{text}"
        );
    }
}
