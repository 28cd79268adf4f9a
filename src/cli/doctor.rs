//! `lurcher doctor`: what is missing here, and the command that fixes it.

use clap::Args;

use crate::broker;
use crate::idempotency::Server;

/// Arguments of `lurcher doctor`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Image that runs would use
    #[arg(long, env = "LURCHER_BROKER_IMAGE", default_value = "rabbitmq:4-management", value_name = "IMAGE")]
    broker_image: String,
}

/// Looks and cleans up; 0 where a broker can be had, else 5.
pub(super) fn run(arguments: &Arguments) -> u8 {
    let runtime = match super::runtime() {
        Ok(runtime) => runtime,
        Err(code) => return code,
    };
    runtime.block_on(async {
        let mut left = false;
        for leftover in broker::leftovers().await {
            match broker::remove(&leftover).await {
                Ok(()) => super::say(format_args!("removed  {leftover}")),
                Err(error) => {
                    left = true;
                    super::complain(format_args!("error: could not remove {leftover}: {error}"));
                }
            }
        }
        let mut findings = broker::checkup(&arguments.broker_image).await;
        findings.push(postgresql());
        for finding in &findings {
            super::say(format_args!(
                "{}  {}: {}",
                if finding.ok { "good   " } else { "MISSING" },
                finding.what,
                finding.detail
            ));
            if let Some(fix) = &finding.fix {
                super::say(format_args!("         {fix}"));
            }
        }
        if left || !can_have_broker(&findings) { super::ENVIRONMENT } else { 0 }
    })
}

/// What a store of idempotent consumers needs; a run without one does not.
fn postgresql() -> broker::Finding {
    let found = Server::find();
    let fix = "apt-get install --no-install-recommends postgresql, or name a server's `url` in the scenario";
    broker::Finding {
        what: "PostgreSQL".to_owned(),
        ok: found.is_ok(),
        fix: found.is_err().then(|| fix.to_owned()),
        detail: match found {
            Ok(programs) => format!("in {}", programs.display()),
            Err(_) => "not here; consumers with `store = \"postgres\"` need it".to_owned(),
        },
    }
}

/// A container needs Docker and an image; a process needs the server.
fn can_have_broker(findings: &[broker::Finding]) -> bool {
    let good = |what: &str| findings.iter().any(|finding| finding.ok && finding.what.starts_with(what));
    (good("Docker") && good("image ")) || good("rabbitmq-server")
}
