//! Which broker: what runs and the self-test are told of it on the command line.

use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use crate::broker::ExternalUrls;
use crate::endpoint::Secret;
use crate::plan::BrokerPlan;

/// The broker, as the command line names it.
#[derive(Debug, Args)]
pub(super) struct WhichBroker {
    /// AMQP URL of a broker that is already there, instead of one that is started
    #[arg(long, env = "LURCHER_BROKER_URL", hide_env_values = true, value_name = "URL", value_parser = given())]
    broker_url: Option<String>,
    /// URL of that broker's management API
    #[arg(long, env = "LURCHER_MANAGEMENT_URL", hide_env_values = true, value_name = "URL", value_parser = given())]
    management_url: Option<String>,
    /// Image of the broker's container
    #[arg(long, env = "LURCHER_BROKER_IMAGE", value_name = "IMAGE", value_parser = given())]
    broker_image: Option<String>,
}

impl WhichBroker {
    /// Puts the broker into `plan`: the one named here, else that of the URLs `written` in a scenario, else the plan's own.
    /// The URLs with their passwords, where it is already there.
    pub(super) fn choose(
        &self,
        plan: &mut BrokerPlan,
        (url, management_url): (Option<String>, Option<String>),
    ) -> Result<Option<ExternalUrls>, &'static str> {
        let Some(amqp) = self.broker_url.clone().or(url) else {
            if self.management_url.is_some() {
                return Err(
                    "error: --management-url (or LURCHER_MANAGEMENT_URL) names the management API of a broker that is \
                            already there, and no URL of that broker is given: add --broker-url, or leave it out",
                );
            }
            if let Some(image) = &self.broker_image {
                plan.use_image(image);
            }
            return Ok(None);
        };
        let management = self.management_url.clone().or(management_url);
        plan.use_external(&amqp, management.as_deref());
        Ok(Some(ExternalUrls { amqp: Secret::new(amqp), management: management.map(Secret::new) }))
    }
}

/// A value that is not empty.
fn given() -> NonEmptyStringValueParser {
    NonEmptyStringValueParser::new()
}
