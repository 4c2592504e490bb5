//! Runs a Fail2Ban sample corpus against guard: `cargo xtask conformance`.

use std::path::PathBuf;
use std::process::ExitCode;

use guard_tests::conformance::Corpus;

fn main() -> anyhow::Result<ExitCode> {
    let mut named: [Option<PathBuf>; 3] = [None, None, None];
    let mut arguments = std::env::args_os().skip(1);
    while let Some(argument) = arguments.next() {
        let options = ["--filters", "--logs", "--test-filters"];
        let Some(option) = options.iter().position(|option| argument == *option) else {
            anyhow::bail!(
                "unknown argument {}; known are {}",
                argument.display(),
                options.join(", ")
            )
        };
        let Some(value) = arguments.next() else {
            anyhow::bail!("{} needs a directory", options[option])
        };
        named[option] = Some(value.into());
    }
    let corpus = Corpus::named_or_debians(named)?;
    let report = corpus.run()?;
    println!("{report}");
    Ok(if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
