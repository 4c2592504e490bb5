//! Says what is so, once it is so: to the log and to the meters.

use std::sync::Arc;

use crate::core::effects::Report;
use crate::core::jail::JailName;
use crate::daemon::meters::Meters;
use crate::daemon::report;
use crate::enforce::Moment;

/// Who says it.
#[derive(Debug)]
pub struct Teller {
    /// The jails by [`JailId`](crate::core::jail::JailId).
    pub names: Vec<JailName>,
    /// What is counted.
    pub meters: Arc<Meters>,
}

impl Teller {
    /// Tells what is true whether or not the kernel acts on it.
    pub fn found(&self, reports: &[Report]) {
        report::write(&self.names, reports);
    }

    /// Tells what the kernel holds.
    pub fn tell(&self, reports: &[Report], now: Moment) {
        self.meters.enforced(reports, now.wall);
        report::write(&self.names, reports);
    }
}
