//! Which rank a process is, by what its engine tells it.

use super::RankError;

/// Where engines write a process's number, and how many there are where they say that too.
const KNOWN: [(&str, Option<&str>); 5] = [
    // Kubernetes, an indexed job.
    ("JOB_COMPLETION_INDEX", None),
    ("SLURM_PROCID", Some("SLURM_NTASKS")),
    ("OMPI_COMM_WORLD_RANK", Some("OMPI_COMM_WORLD_SIZE")),
    ("PMI_RANK", Some("PMI_SIZE")),
    // Ray, and whatever follows its habit.
    ("RANK", Some("WORLD_SIZE")),
];

/// The names of all of them.
pub(super) fn names() -> String {
    KNOWN.map(|(rank, _)| rank).join(", ")
}

/// The number of this process among `world`; `given` goes before what the environment says.
pub(super) fn rank(
    given: Option<usize>,
    world: usize,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<usize, RankError> {
    let number = |name: &str| environment(name)?.trim().parse::<usize>().ok();
    let rank = match given {
        Some(rank) => ("--rank", rank),
        None => {
            let found = KNOWN.iter().find_map(|(name, size)| Some((*name, *size, number(name)?)));
            let (name, size, rank) = found.ok_or(RankError::NoRank)?;
            if let Some(size) = size
                && let Some(said) = number(size)
                && said != world
            {
                let what = "processes";
                return Err(RankError::Differs { what, said_by: size, said, planned: world });
            }
            (name, rank)
        }
    };
    let (said_by, rank) = rank;
    if rank >= world {
        let what = "as the number of this process, counted from 0";
        return Err(RankError::Differs { what, said_by, said: rank, planned: world });
    }
    Ok(rank)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with<'a>(pairs: &'a [(&str, &str)]) -> impl Fn(&str) -> Option<String> + 'a {
        move |name| {
            pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        }
    }

    #[test]
    fn every_engine_is_understood() {
        for (pairs, expected) in [
            (vec![("JOB_COMPLETION_INDEX", "3")], 3),
            (vec![("SLURM_PROCID", "0"), ("SLURM_NTASKS", "4")], 0),
            (vec![("OMPI_COMM_WORLD_RANK", "2"), ("OMPI_COMM_WORLD_SIZE", "4")], 2),
            (vec![("PMI_RANK", "1")], 1),
            (vec![("RANK", "1"), ("WORLD_SIZE", "4")], 1),
        ] {
            assert_eq!(rank(None, 4, with(&pairs)).expect("a rank"), expected);
            assert_eq!(rank(Some(1), 4, with(&pairs)).expect("given"), 1);
        }
    }

    #[test]
    fn contradictions_name_both_numbers() {
        let error =
            |pairs: &[(&str, &str)]| rank(None, 4, with(pairs)).expect_err("refused").to_string();
        assert!(error(&[]).contains("JOB_COMPLETION_INDEX"));
        let said = error(&[("SLURM_PROCID", "0"), ("SLURM_NTASKS", "5")]);
        assert!(said.contains("SLURM_NTASKS says 5") && said.contains("plan has 4"), "{said}");
        assert!(error(&[("RANK", "4")]).contains("RANK says 4"));
        assert!(rank(Some(9), 4, with(&[])).is_err());
    }
}
