//! Image garbage collection: images that no container uses go when the disk is full, the least
//! lately used first.
//!
//! Thresholds, periods and words are the kubelet's. When an image was used is known from looking
//! now and then; who restarts the agent makes every image young.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use shim::cri::{Image, ImageRef};

use super::Node;
use crate::platform;

/// Per cent of the disk in use that begin a collection (imageGCHighThresholdPercent).
const HIGH: u64 = 85;

/// Per cent of the disk in use that end it (imageGCLowThresholdPercent).
const LOW: u64 = 80;

/// How long an image stays after it came, as it may be about to be used (imageMinimumGCAge).
const MINIMUM_AGE: Duration = Duration::from_secs(120);

/// How often it is looked (ImageGCPeriod).
const PERIOD: Duration = Duration::from_secs(300);

/// A disk, in bytes.
#[derive(Debug, Clone, Copy)]
struct Disk {
    capacity: u64,
    available: u64,
}

/// What is known of an image.
#[derive(Debug, Clone)]
struct Record {
    first_detected: Timestamp,
    last_used: Option<Timestamp>,
    size: u64,
}

/// What is known of every image here.
#[derive(Debug, Default)]
struct Records(BTreeMap<ImageRef, Record>);

/// What to remove.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plan {
    /// Bytes that should become free.
    wanted: u64,
    /// Bytes that the removals free.
    freed: u64,
    /// Images to remove, in this order.
    images: Vec<ImageRef>,
}

impl Records {
    /// Notes which images there are and which of them containers use.
    fn note(&mut self, images: &[Image], used: &BTreeSet<ImageRef>, now: Timestamp) {
        self.0.retain(|id, _| images.iter().any(|image| image.id == *id));
        for image in images {
            let new = Record { first_detected: now, last_used: None, size: 0 };
            let record = self.0.entry(image.id.clone()).or_insert(new);
            record.size = image.size;
            if used.contains(&image.id) {
                record.last_used = Some(now);
            }
        }
    }

    /// Decides what goes. `now` is when the use of images was last noted.
    fn plan(&self, disk: Disk, now: Timestamp) -> Plan {
        let used = disk.capacity.saturating_sub(disk.available);
        let percent = |part: u64| u128::from(disk.capacity) * u128::from(part) / 100;
        if disk.capacity == 0 || u128::from(used) < percent(HIGH) {
            return Plan::default();
        }
        let excess = u128::from(used).saturating_sub(percent(LOW));
        let mut plan =
            Plan { wanted: u64::try_from(excess).unwrap_or(u64::MAX), ..Plan::default() };
        let old_enough = |record: &Record| {
            let age = now.duration_since(record.first_detected);
            Duration::try_from(age).is_ok_and(|age| age >= MINIMUM_AGE)
        };
        let mut candidates: Vec<(&ImageRef, &Record)> = self
            .0
            .iter()
            .filter(|(_, record)| record.last_used != Some(now) && old_enough(record))
            .collect();
        candidates.sort_by_key(|(_, record)| (record.last_used, record.first_detected));
        for (id, record) in candidates {
            if plan.freed >= plan.wanted {
                break;
            }
            plan.freed += record.size;
            plan.images.push(id.clone());
        }
        plan
    }
}

/// Looks now and then, for as long as it is polled.
pub(super) async fn run(node: Arc<Node>) {
    let mut records = Records::default();
    loop {
        collect(&node, &mut records).await;
        tokio::time::sleep(PERIOD).await;
    }
}

async fn collect(node: &Node, records: &mut Records) {
    let now = node.clock.now();
    let containers = node.runtime.list_containers(None);
    let used = containers.into_iter().map(|container| container.image).collect();
    records.note(&node.runtime.list_images(), &used, now);
    let path = &node.config.data_dir;
    let (Some(capacity), Some(available)) =
        (platform::disk_size(path), platform::disk_available(path))
    else {
        return;
    };
    let plan = records.plan(Disk { capacity, available }, now);
    for image in &plan.images {
        tracing::info!(image = image.0, "removing an unused image to free disk space");
        if let Err(error) = node.runtime.remove_image(&image.0).await {
            tracing::warn!(image = image.0, %error, "image not removed");
        }
    }
    if plan.freed < plan.wanted {
        let message = format!(
            "Failed to garbage collect required amount of images. Attempted to free {} bytes, but only found {} bytes eligible to free.",
            plan.wanted, plan.freed
        );
        node.recorder.warning(node.about(), "FreeDiskSpaceFailed", message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + minute * 60).unwrap()
    }

    fn image(name: &str, size: u64) -> Image {
        let (repo_tags, repo_digests) = (Vec::new(), Vec::new());
        Image { id: ImageRef(name.into()), repo_tags, repo_digests, size }
    }

    fn refs(names: &[&str]) -> BTreeSet<ImageRef> {
        names.iter().map(|name| ImageRef((*name).into())).collect()
    }

    fn planned(records: &Records, available: u64, now: Timestamp) -> Vec<String> {
        let plan = records.plan(Disk { capacity: 100 * GIB, available: available * GIB }, now);
        plan.images.into_iter().map(|id| id.0).collect()
    }

    /// `a` was used after `b`, `c` never, `d` is in use, `e` has just come.
    fn records() -> Records {
        let mut records = Records::default();
        let all = ["a", "b", "c", "d"].map(|name| image(name, 3 * GIB));
        records.note(&all, &refs(&["b", "d"]), at(0));
        records.note(&all, &refs(&["a", "d"]), at(5));
        let all = ["a", "b", "c", "d", "e"].map(|name| image(name, 3 * GIB));
        records.note(&all, &refs(&["d"]), at(10));
        records
    }

    #[test]
    fn nothing_goes_while_the_disk_has_room() {
        assert_eq!(planned(&records(), 16, at(10)), [""; 0]);
        assert_eq!(planned(&records(), 100, at(10)), [""; 0]);
        assert_eq!(records().plan(Disk { capacity: 0, available: 0 }, at(10)), Plan::default());
    }

    #[test]
    fn the_least_lately_used_go_until_the_low_threshold() {
        assert_eq!(planned(&records(), 15, at(10)), ["c", "b"]);
        assert_eq!(planned(&records(), 12, at(10)), ["c", "b", "a"]);
    }

    #[test]
    fn what_is_used_or_has_just_come_stays() {
        let plan = records().plan(Disk { capacity: 100 * GIB, available: 0 }, at(10));
        assert_eq!(plan.images, ["c", "b", "a"].map(|name| ImageRef(name.into())));
        assert_eq!((plan.wanted, plan.freed), (20 * GIB, 9 * GIB));
    }

    #[test]
    fn what_is_gone_is_forgotten() {
        let mut records = records();
        records.note(&[image("d", 1)], &refs(&[]), at(15));
        assert_eq!(records.0.len(), 1);
        assert_eq!(planned(&records, 10, at(15)), ["d"]);
    }
}
