//! What every command is given: which store, how to print, what time it is.

use queuectl_core::{Clock, SystemClock, Timestamp};

use crate::args::Common;
use crate::error::CliError;
use crate::input::when::When;
use crate::output::Ui;
use crate::store_path::StorePath;

/// One run of the program.
#[derive(Debug)]
pub(crate) struct Session {
    /// How to print.
    pub(crate) ui: Ui,
    common: Common,
}

impl Session {
    /// A run with these arguments.
    pub(crate) fn new(common: Common) -> Self {
        Session { ui: Ui::new(common.json, common.color), common }
    }

    /// Which store is meant.
    pub(crate) fn store_path(&self) -> Result<StorePath, CliError> {
        StorePath::find(self.common.store.as_deref())
    }

    /// The time.
    pub(crate) fn now(&self) -> Timestamp {
        SystemClock.now()
    }

    /// How times are read now and here.
    pub(crate) fn when(&self) -> When {
        When::new(self.now(), jiff::tz::TimeZone::system())
    }
}
