//! The group `batch`.

mod cron_job;
mod job;

pub use cron_job::CronJobs;
pub use job::Jobs;
