//! `hyperscale`: scenarios of mesh-gossip in virtual time and on real sockets, from the command line.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use clap::{Parser, Subcommand};
use hyperscale_tests::outcome::{Outcome, Run};
use hyperscale_tests::progress::Progress;
use hyperscale_tests::report::{self, machine};
use hyperscale_tests::scenario::criteria;
use hyperscale_tests::suite::sweep;
use hyperscale_tests::{flags, likeness, mix, real, scenario, suite};

#[derive(Parser)]
#[command(
    name = "hyperscale",
    version,
    about = "Scenarios of mesh-gossip, simulated and on sockets"
)]
struct Line {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Runs one scenario; exits with 1 when it misses its own thresholds.
    Sim(Box<flags::Flags>),
    /// Runs one scenario with real agents on loopback; exits with 1 when it misses its thresholds.
    Real(Box<real::Flags>),
    /// Writes what many processes play together, and the papers of their members.
    Plan(Box<real::ranks::PlanFlags>),
    /// One agent, for a run with --processes, which speaks to it.
    #[command(hide = true)]
    Member,
    /// Busy threads beside a starved member, likewise.
    #[command(hide = true)]
    Burn(real::BurnFlags),
    /// One member of another library, likewise.
    #[command(hide = true)]
    Peer,
    /// Plays ours, serf, foca, memberlist and chitchat on one network, one after another; exits with 1 where
    /// nothing was shown.
    Peers(real::peers::Flags),
    /// Plays one process's part of a plan; an engine such as Kubernetes, SLURM, Open MPI or Ray starts it.
    Agent(real::ranks::AgentFlags),
    /// Puts the journals of all processes together; exits with 1 when they miss their thresholds.
    Ranks(real::ranks::MergeFlags),
    /// Runs the table of scenarios and writes report.json, report.md and plots.
    Suite(suite::Flags),
    /// Puts reports of the suite together and writes suite.md, suite.json and plots.
    Report(report::results::Flags),
    /// Compares the simulator with sockets: the same crashes on both; exits with 1 where they differ.
    Likeness(likeness::Flags),
    /// Runs a mix of all faults under many seeds, until a checker finds a violation.
    Sweep(sweep::Flags),
}

/// Has the C library's allocator ask for huge pages, which it reads from the environment as a program
/// starts: ten thousand nodes touch more small pages than a processor remembers the places of.
fn with_huge_pages() {
    const TUNABLES: &str = "GLIBC_TUNABLES";
    let mut args = std::env::args_os();
    let (Some(name), None) = (args.next(), std::env::var_os(TUNABLES)) else { return };
    let args: Vec<_> = args.collect();
    // What real agents hold is measured, as any host holds it.
    if args.first().is_some_and(|verb| {
        ["real", "likeness", "agent", "member", "peer", "peers", "burn"]
            .iter()
            .any(|known| verb == known)
    }) {
        return;
    }
    let mut again = Command::new("/proc/self/exe");
    again.arg0(name).args(args).env(TUNABLES, "glibc.malloc.hugetlb=1");
    // Without huge pages it is slower, and no less right.
    let error = again.exec();
    eprintln!("no huge pages: {error}");
}

fn main() -> ExitCode {
    with_huge_pages();
    let verb = Line::parse().verb;
    if !matches!(verb, Verb::Member | Verb::Burn(_) | Verb::Agent(_)) {
        // Reports name the commit that the run began with.
        machine::commit();
    }
    let passed = match verb {
        Verb::Sim(flags) => sim(&flags),
        Verb::Real(flags) => on_sockets(&flags),
        Verb::Member => real::be_a_member().map(|()| true),
        Verb::Burn(flags) => real::burn(flags).map(|()| true),
        Verb::Peer => real::peers::be_a_peer().map(|()| true),
        Verb::Peers(flags) => peers(&flags),
        Verb::Plan(flags) => plan(&flags),
        Verb::Agent(flags) => agent(&flags),
        Verb::Ranks(flags) => ranks(&flags),
        Verb::Likeness(flags) => alike(&flags),
        Verb::Suite(flags) => whole_suite(&flags),
        Verb::Report(flags) => together(&flags),
        Verb::Sweep(flags) => Ok(seeds(&flags)),
    };
    match passed {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn sim(flags: &flags::Flags) -> Result<bool, Box<dyn std::error::Error>> {
    let plan = flags.simulated()?;
    let seconds = (plan.warmup + plan.duration).as_secs();
    let run = scenario::run(&plan, &Progress::bar(seconds, "s"));
    let outcome = run.outcome();
    print(&run, &outcome);
    if flags.json {
        println!("{}", serde_json::to_string(&outcome)?);
    }
    Ok(outcome.pass)
}

fn on_sockets(flags: &real::Flags) -> Result<bool, Box<dyn std::error::Error>> {
    let plan = flags.plan()?;
    let seconds = (plan.warmup + plan.duration).as_secs();
    let report = real::run(&plan, &flags.ground(), &Progress::bar(seconds, "s"))?;
    print_sockets(&report.figures);
    print(&report.run, &report.outcome());
    if flags.plan.json {
        println!("{}", report.json()?);
    }
    Ok(report.pass())
}

fn peers(flags: &real::peers::Flags) -> Result<bool, Box<dyn std::error::Error>> {
    let compared = real::peers::run(flags, |line| eprintln!("{line}"))?;
    print!("{}", compared.markdown());
    if flags.json {
        println!("{}", serde_json::to_string(&compared)?);
    }
    Ok(compared.shows())
}

fn alike(flags: &likeness::Flags) -> Result<bool, Box<dyn std::error::Error>> {
    let compared = likeness::run(flags, |cell| println!("{cell}"))?;
    if flags.json {
        println!("{}", serde_json::to_string(&compared)?);
    }
    Ok(compared.pass)
}

fn plan(flags: &real::ranks::PlanFlags) -> Result<bool, Box<dyn std::error::Error>> {
    println!("{}", real::ranks::make_plan(flags)?.display());
    Ok(true)
}

fn agent(flags: &real::ranks::AgentFlags) -> Result<bool, Box<dyn std::error::Error>> {
    let journal = real::ranks::play(flags, &Progress::silent())?;
    println!("{}", journal.display());
    Ok(true)
}

fn ranks(flags: &real::ranks::MergeFlags) -> Result<bool, Box<dyn std::error::Error>> {
    show(&real::ranks::merge(flags)?, flags.json)
}

fn show(merged: &real::ranks::Merged, json: bool) -> Result<bool, Box<dyn std::error::Error>> {
    print!("{}", merged.markdown());
    if json {
        println!("{}", merged.json()?);
    }
    Ok(merged.pass())
}

fn print_sockets(figures: &real::Figures) {
    let mib = |bytes: u64| bytes as f64 / 1_048_576.0;
    let line = |name: &str, value: String| println!("{name:<15}{value}");
    let (before, after) = figures.load_average;
    line("backend", figures.backend.into());
    line("converged", format!("{:?} from the first start", figures.joined.converged));
    line(
        "processor",
        format!(
            "{:.2} % of a core, load average {before:.2} before and {after:.2} after",
            figures.cpu_percent()
        ),
    );
    line(
        "memory",
        format!(
            "{:.1} MiB resident, {:.1} of them the program's pages, {:.1} when all had joined; {} \
             sessions, {} with expanded keys",
            mib(figures.memory.resident),
            mib(figures.memory.file),
            mib(figures.grown.joined),
            figures.sessions.all,
            figures.sessions.hot
        ),
    );
}

fn print(run: &Run, outcome: &Outcome) {
    let plan = &run.plan;
    let line = |name: &str, value: String| println!("{name:<15}{value}");
    line("seed", plan.seed.to_string());
    line("options", format!("{plan:?}"));
    line("commit", machine::commit());
    line("replay", outcome.replay.clone());
    for (name, spread) in [("t_first", outcome.t_first_ms), ("t_full", outcome.t_full_ms)] {
        if let (Some(p50), Some(p99)) = (spread.p50, spread.p99) {
            line(name, format!("p50 {p50} ms, p99 {p99} ms, n = {}", spread.n));
        }
    }
    line("detected", format!("{}, missed {}", outcome.detected, outcome.missed));
    line(
        "false deaths",
        format!(
            "{}, {} of them at healthy members, in {} node-hours",
            outcome.false_deaths, outcome.false_deaths_healthy, outcome.node_hours
        ),
    );
    line(
        "load",
        format!(
            "{} messages and {} bytes a node and second; {} handshakes a node and minute, {} bytes \
             a node and second",
            outcome.messages_per_node_s,
            outcome.bytes_per_node_s,
            outcome.handshakes_per_node_min,
            outcome.handshake_bytes_per_node_s
        ),
    );
    line("speed", format!("{} events a second", outcome.events_per_s));
    line("trace hash", outcome.trace_hash.clone());
    for check in &outcome.checks {
        println!("{check}");
    }
    println!("{}", criteria::verdict(&outcome.checks));
}

fn whole_suite(flags: &suite::Flags) -> Result<bool, Box<dyn std::error::Error>> {
    let report = suite::run(flags)?;
    println!("{}", report.markdown());
    println!("report.json, report.md and plots are in {}", flags.out.display());
    Ok(report.pass)
}

fn together(flags: &report::results::Flags) -> Result<bool, Box<dyn std::error::Error>> {
    report::results::run(flags)?;
    println!("suite.md, suite.json and plots are in {}", flags.out.display());
    // What the runs showed is said in their verdicts; writing it down has worked.
    Ok(true)
}

fn seeds(flags: &sweep::Flags) -> bool {
    let swept = sweep::run(flags, |seed| mix::fault_mix(seed).map(|report| report.fired));
    println!("commit         {}", machine::commit());
    println!("seeds          {} from {}, {} clean", flags.seeds, flags.first, swept.clean);
    if let Some((seed, violation)) = swept.violation {
        println!("violation      seed {seed}: {violation}");
        println!("replay         {} sweep --seeds 1 --first {seed}", flags::COMMAND);
        return false;
    }
    for (kind, times) in swept.fired.by_name() {
        println!("{kind:<21}{times}");
    }
    let silent = mix::never_fired(&swept.fired);
    // One seed is a replay; that all kinds fire is a claim about many.
    if flags.seeds > 1 && !silent.is_empty() {
        println!("FAIL: never fired: {}", silent.join(", "));
        return false;
    }
    println!("pass");
    true
}
