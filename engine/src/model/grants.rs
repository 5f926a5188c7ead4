//! What a peer may do, as the application says it: lists of patterns. Does not match anything; `route/permissions` does.

/// Topics that an action is allowed for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allowed {
    /// All of them.
    Everything,
    /// Those that one of these patterns matches.
    Matching(Vec<String>),
}

impl Allowed {
    /// No topic at all.
    #[must_use]
    pub fn nothing() -> Self {
        Self::Matching(Vec::new())
    }
}

/// Who a peer is and what it may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grants {
    /// Stands for `{identity}` in patterns; begins with the authority that vouches for it, such as `app:`.
    pub identity: Option<String>,
    /// What it may subscribe to.
    pub subscribe: Allowed,
    /// What it may publish to.
    pub publish: Allowed,
}

impl Grants {
    /// Everything, for whoever it is.
    #[must_use]
    pub fn everything(identity: Option<String>) -> Self {
        Self { identity, subscribe: Allowed::Everything, publish: Allowed::Everything }
    }
}
