//! What can go wrong with the container engine.

/// Why there is no container, or one that is left.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// No container engine.
    #[error("could not reach Docker: {reason}\ninstall and start it (Debian: `apt-get install docker.io`)")]
    NoDocker {
        /// What the system said.
        reason: String,
    },
    /// The image is not there and could not be pulled.
    #[error("the image {image} is not here and could not be pulled: {reason}\n{fix}")]
    NoImage {
        /// The image.
        image: String,
        /// What the engine said.
        reason: String,
        /// What to do.
        fix: String,
    },
    /// The container engine refused something.
    #[error("Docker could not {action}: {reason}")]
    Refused {
        /// What was asked.
        action: String,
        /// What it said.
        reason: String,
    },
    /// Something is still there after it was removed.
    #[error("could not remove {what}: {reason}\n{fix}")]
    Remains {
        /// What is left.
        what: String,
        /// Why.
        reason: String,
        /// What to do by hand.
        fix: String,
    },
}

impl EngineError {
    /// For `map_err` on calls of the engine.
    pub fn refused<E: std::fmt::Display>(action: impl Into<String>) -> impl FnOnce(E) -> Self {
        let action = action.into();
        move |error| Self::Refused { action, reason: error.to_string() }
    }
}
