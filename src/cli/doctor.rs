//! `lurcher doctor`: what is missing here, and the command that fixes it.

use clap::Args;

use crate::broker;
use crate::idempotency::Source;

/// Arguments of `lurcher doctor`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Image that runs would use
    #[arg(long, env = "LURCHER_BROKER_IMAGE", default_value = "rabbitmq:4-management", value_name = "IMAGE")]
    broker_image: String,
    /// Image of a container for PostgreSQL that runs would use
    #[arg(long, env = "LURCHER_POSTGRES_IMAGE", value_name = "IMAGE")]
    postgres_image: Option<String>,
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
        findings.push(postgresql(arguments.postgres_image.as_deref()).await);
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
async fn postgresql(image: Option<&str>) -> broker::Finding {
    let found = Source::find(image).await;
    // Its first line says what is missing, the others what to do.
    let error = found.as_ref().err().map(ToString::to_string).unwrap_or_default();
    let (missing, fix) = error.split_once('\n').unwrap_or((&error, "name the `url` of a server in the scenario"));
    broker::Finding {
        what: "PostgreSQL".to_owned(),
        ok: found.is_ok(),
        fix: found.is_err().then(|| fix.replace('\n', "\n         ")),
        detail: match &found {
            Ok(Source::Programs(programs)) => format!("in {}, as a child of the run", programs.display()),
            Ok(Source::Image(image)) => format!("in a container of {image}, which is here"),
            Err(_) => format!("{missing}; consumers with `store = \"postgres\"` and no `url` need it"),
        },
    }
}

/// A container needs Docker and an image; a process needs the server.
fn can_have_broker(findings: &[broker::Finding]) -> bool {
    let good = |what: &str| findings.iter().any(|finding| finding.ok && finding.what.starts_with(what));
    (good("Docker") && good("image ")) || good("rabbitmq-server")
}
