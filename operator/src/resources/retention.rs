//! Which snapshots stay after a backup.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How many snapshots of each kind stay; 0 and nothing said are the same.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetentionPolicy {
    /// What people call it.
    #[serde(default)]
    pub name: String,
    /// How many of the newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub keep_last: Option<i64>,
    /// The last of each of so many hours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub keep_hourly: Option<i64>,
    /// The last of each of so many days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub keep_daily: Option<i64>,
    /// The last of each of so many weeks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub keep_weekly: Option<i64>,
    /// The last of each of so many months.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub keep_monthly: Option<i64>,
    /// The last of each of so many years.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub keep_yearly: Option<i64>,
    /// All with one of these tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keep_tags: Vec<String>,
    /// Whether the data goes too that no snapshot needs any more.
    #[serde(default)]
    pub prune: bool,
    /// Whether only to say what would go.
    #[serde(default)]
    pub dry_run: bool,
}
