//! Finished runs, kept beside the report: a suite that takes hours may be ended and gone on with.
//!
//! Invariant: a run is taken for the very plan that it was made of, and by the very program that made
//! it; whatever else changed, it is made again.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::outcome::Run;
use crate::plan::Plan;

/// What took less is made again rather than kept.
const WORTH: Duration = Duration::from_secs(10);

/// Where runs are kept.
#[derive(Debug)]
pub struct Kept {
    folder: PathBuf,
    /// SHA-256 of the program.
    program: String,
    /// Whether runs of an earlier call are taken.
    resumes: bool,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    program: String,
    plan: String,
    run: Run,
}

impl Kept {
    /// Keeps runs in `out`; takes those of earlier calls where it `resumes`.
    ///
    /// # Errors
    /// When the folder cannot be made, or the program does not find itself.
    pub fn open(out: &Path, resumes: bool) -> io::Result<Self> {
        let program = std::fs::read(std::env::current_exe()?)?;
        Self::of(out, hex(&program), resumes)
    }

    fn of(out: &Path, program: String, resumes: bool) -> io::Result<Self> {
        let folder = out.join("runs");
        std::fs::create_dir_all(&folder)?;
        Ok(Self { folder, program, resumes })
    }

    /// The `number`th run of this plan, if it was made before.
    pub fn find(&self, plan: &Plan, number: usize) -> Option<Run> {
        if !self.resumes {
            return None;
        }
        let text = std::fs::read(self.path(plan, number)).ok()?;
        let entry: Entry = serde_json::from_slice(&text).ok()?;
        let fits = entry.program == self.program && entry.plan == name(plan);
        fits.then(|| Run { plan: plan.clone(), ..entry.run })
    }

    /// Keeps a run, if it is worth that.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep(&self, plan: &Plan, number: usize, run: &Run) -> io::Result<()> {
        if run.wall < WORTH {
            return Ok(());
        }
        let (program, run) = (self.program.clone(), run.clone());
        let text = serde_json::to_vec(&Entry { program, plan: name(plan), run })?;
        // In one step, because this program may be ended at any time.
        let path = self.path(plan, number);
        let unfinished = path.with_extension("unfinished");
        std::fs::write(&unfinished, text)?;
        std::fs::rename(unfinished, path)
    }

    fn path(&self, plan: &Plan, number: usize) -> PathBuf {
        self.folder.join(hex(format!("{number} {}", name(plan)).as_bytes()) + ".json")
    }
}

/// Everything that a run depends on.
fn name(plan: &Plan) -> String {
    format!("{plan:?}")
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes)[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Scenario;
    use crate::progress::Progress;
    use crate::scenario;

    #[test]
    fn a_run_is_taken_by_its_own_program_for_its_own_plan() {
        let folder = std::env::temp_dir().join(format!("hyperscale-kept-{}", std::process::id()));
        let mut plan = Plan::new(Scenario::Crash, 24);
        plan.duration = Duration::from_secs(20);
        let mut run = scenario::run(&plan, &Progress::silent());
        let kept =
            |program: &str, resumes| Kept::of(&folder, program.into(), resumes).expect("a folder");
        run.wall = WORTH / 2;
        kept("one", false).keep(&plan, 0, &run).expect("nothing to do");
        assert!(kept("one", true).find(&plan, 0).is_none(), "it was not worth it");
        run.wall = WORTH;
        kept("one", false).keep(&plan, 0, &run).expect("it is written");
        let again = kept("one", true).find(&plan, 0).expect("it is there");
        let printed = |run: &Run| serde_json::to_string(&run.outcome()).expect("an object");
        assert_eq!(printed(&again), printed(&run), "nothing is lost on the way");
        assert!(run.outcome().t_full_ms.n > 0 && run.outcome().bytes_per_node_s > 0.0);
        assert!(kept("one", false).find(&plan, 0).is_none(), "nobody asked to resume");
        assert!(kept("two", true).find(&plan, 0).is_none(), "another program");
        assert!(kept("one", true).find(&plan, 1).is_none(), "another run");
        plan.seed += 1;
        assert!(kept("one", true).find(&plan, 0).is_none(), "another plan");
        std::fs::remove_dir_all(folder).expect("it was made");
    }
}
