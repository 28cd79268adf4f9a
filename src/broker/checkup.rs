//! What this machine offers for a broker, and the command that fixes what is missing.

use super::container::BUILT;
use super::ports;
use super::process;
use crate::engine;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What, such as `Docker`.
    pub what: String,
    /// Whether it is as it should be.
    pub ok: bool,
    /// What was found.
    pub detail: String,
    /// The command that fixes it, where it is not.
    pub fix: Option<String>,
}

impl Finding {
    fn good(what: &str, detail: impl Into<String>) -> Self {
        Self { what: what.to_owned(), ok: true, detail: detail.into(), fix: None }
    }

    fn bad(what: &str, detail: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { what: what.to_owned(), ok: false, detail: detail.into(), fix: Some(fix.into()) }
    }
}

/// Looks at Docker, the images, a local `rabbitmq-server` and free ports. `image` is the one that runs would use.
pub async fn checkup(image: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    match engine::connect().await {
        Ok(docker) => {
            let version = docker.version().await.ok().and_then(|version| version.version);
            findings.push(Finding::good(
                "Docker",
                version.map_or_else(|| "answers".to_owned(), |v| format!("version {v}")),
            ));
            findings.push(if engine::is_local(&docker).await {
                Finding::good("host networking", "the engine is local: nothing stands between fleets and broker")
            } else {
                Finding::good(
                    "host networking",
                    "the engine is not local: ports are published through Docker's proxy, which costs throughput",
                )
            });
            for image in if image == BUILT.image { vec![image] } else { vec![image, BUILT.image] } {
                findings.push(image_finding(&docker, image).await);
            }
        }
        Err(error) => findings.push(Finding::bad("Docker", error.to_string(), "apt-get install docker.io")),
    }
    findings.push(match process::find_scripts() {
        Ok(path) => Finding::good("rabbitmq-server", format!("in {}", path.display())),
        Err(error) => Finding::bad(
            "rabbitmq-server",
            error.to_string(),
            "apt-get install --no-install-recommends rabbitmq-server",
        ),
    });
    findings.push(match ports::choose(None, None, 0) {
        Ok(_) => Finding::good("ports", "there are free ones on 127.0.0.1"),
        Err(error) => Finding::bad("ports", error.to_string(), "ss -ltnp"),
    });
    findings
}

async fn image_finding(docker: &testcontainers::bollard::Docker, image: &str) -> Finding {
    let what = format!("image {image}");
    match engine::local_image_id(docker, image).await {
        Ok(Some(id)) => Finding::good(&what, id.get(..19).unwrap_or(&id)),
        Ok(None) if image == BUILT.image => Finding::bad(&what, "not here", BUILT.command),
        Ok(None) => Finding::bad(&what, "not here; a run pulls it", format!("docker pull {image}")),
        Err(error) => Finding::bad(&what, error.to_string(), "docker images"),
    }
}
