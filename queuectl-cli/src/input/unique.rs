//! How long a unique key is held, and what becomes of the job that holds it, as people write it.

use std::time::Duration;

use queuectl_core::{OnConflict, State, UniqueScope};

use super::Refused;

/// For a period.
pub(crate) fn period(period: Duration) -> Result<UniqueScope, Refused> {
    if period.is_zero() {
        return Err(Refused::new("a key that is held for no time is not unique"));
    }
    Ok(UniqueScope::For(period))
}

/// In states, by their names.
pub(crate) fn states<T: AsRef<str>>(names: &[T]) -> Result<UniqueScope, Refused> {
    let states = names.iter().map(|name| name.as_ref().parse::<State>());
    let states = states.collect::<Result<_, _>>();
    Ok(UniqueScope::While(states.map_err(|error| Refused::new(error.to_string()))?))
}

/// What becomes of the job that holds the key, by its name.
pub(crate) fn policy(name: &str) -> Result<OnConflict, Refused> {
    OnConflict::ALL.into_iter().find(|policy| policy.as_str() == name).ok_or_else(|| {
        let all = OnConflict::ALL.map(OnConflict::as_str).join(", ");
        Refused::new(format!("{name:?} says nothing of what to do on a conflict"))
            .hint(format!("it is one of {all}"))
    })
}
