//! What a guest tells, line by line, and what it comes to. Pure: it reads no device.

/// How a test ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It holds.
    Ok,
    /// It does not; the text says how it ended, then what it wrote.
    Failed(String),
    /// It cannot run there; the text says why.
    Skipped(String),
}

/// A test that was run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tested {
    /// The test.
    pub(crate) name: String,
    /// How long it took in the guest.
    pub(crate) seconds: String,
    /// How it ended.
    pub(crate) ending: Ending,
}

/// What a guest has told so far.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// The kernel's release, once it is up.
    pub(crate) release: Option<String>,
    /// Tests, in the order in which they were run.
    pub(crate) tested: Vec<Tested>,
    /// Whether it has come to the end of its list.
    pub(crate) is_complete: bool,
}

impl Report {
    /// Takes in a line.
    pub(crate) fn hear(&mut self, line: &str) {
        let line = line.trim_end();
        if let Some(wrote) = line.strip_prefix("| ") {
            if let Some(Tested {
                ending: Ending::Failed(text),
                ..
            }) = self.tested.last_mut()
            {
                text.push_str("\n    ");
                text.push_str(wrote);
            }
            return;
        }
        let mut words = line.splitn(4, ' ');
        let (first, name) = (words.next().unwrap_or_default(), words.next());
        let (seconds, rest) = (words.next(), words.next().unwrap_or_default().to_owned());
        let ending = match (first, name) {
            ("booted", Some(release)) => {
                self.release = Some(release.to_owned());
                return;
            }
            ("end", None) => {
                self.is_complete = true;
                return;
            }
            ("ok", _) => Ending::Ok,
            ("failed", _) => Ending::Failed(rest),
            ("skipped", _) => Ending::Skipped(rest),
            _ => return,
        };
        self.tested.push(Tested {
            name: name.unwrap_or_default().to_owned(),
            seconds: seconds.unwrap_or_default().to_owned(),
            ending,
        });
    }

    /// Tests that cannot run there, with the reason.
    pub(crate) fn skipped(&self) -> impl Iterator<Item = (&str, &str)> {
        self.tested
            .iter()
            .filter_map(|tested| match &tested.ending {
                Ending::Skipped(reason) => Some((tested.name.as_str(), reason.as_str())),
                _ => None,
            })
    }

    /// How many tests hold, fail and were skipped.
    pub(crate) fn counts(&self) -> [usize; 3] {
        let mut counts = [0; 3];
        for Tested { ending, .. } in &self.tested {
            counts[match ending {
                Ending::Ok => 0,
                Ending::Failed(_) => 1,
                Ending::Skipped(_) => 2,
            }] += 1;
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_is_understood() {
        let mut report = Report::default();
        let lines = [
            "noise before the first word",
            "booted 6.1.0-56-cloud-amd64\r",
            "ok kernel::one 1.5",
            "failed kernel::two 60.0 killed after 60 s",
            "| it said this",
            "skipped kernel::three 0.1 bpftool is not installed",
        ];
        for line in lines {
            report.hear(line);
        }
        assert_eq!(report.release.as_deref(), Some("6.1.0-56-cloud-amd64"));
        assert_eq!(report.counts(), [1, 1, 1]);
        assert!(!report.is_complete);
        report.hear("end");
        assert!(report.is_complete);
        assert_eq!(
            report.tested[1].ending,
            Ending::Failed("killed after 60 s\n    it said this".into())
        );
        assert_eq!(
            report.tested[2].ending,
            Ending::Skipped("bpftool is not installed".into())
        );
    }
}
