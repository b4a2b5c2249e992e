//! Why a node is refused, and what could change that.
use std::borrow::Cow;
use std::fmt;

/// Sets of plugins, as bits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Plugins(u16);

impl Plugins {
    /// No plugin.
    pub const NONE: Self = Self(0);
    /// `NodeUnschedulable`.
    pub const UNSCHEDULABLE: Self = Self(1);
    /// `TaintToleration`.
    pub const TAINTS: Self = Self(1 << 1);
    /// `NodeAffinity`.
    pub const NODE_AFFINITY: Self = Self(1 << 2);
    /// `NodePorts`.
    pub const PORTS: Self = Self(1 << 3);
    /// `NodeResourcesFit`.
    pub const RESOURCES: Self = Self(1 << 4);
    /// `PodTopologySpread`.
    pub const SPREAD: Self = Self(1 << 5);
    /// `InterPodAffinity`.
    pub const POD_AFFINITY: Self = Self(1 << 6);
    /// There is no node at all.
    pub const NO_NODE: Self = Self(1 << 7);
    /// Every plugin.
    pub const ALL: Self = Self(u16::MAX);

    /// Both together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether a plugin is in both.
    pub fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// Why a node is refused; `Display` is kube-scheduler's words.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// It is cordoned.
    Unschedulable,
    /// It has a taint that the Pod does not tolerate. Which one is no business of
    /// those who make Pods.
    Taint,
    /// It lacks labels that the Pod asks for.
    NodeAffinity,
    /// A port is taken.
    Ports,
    /// It holds as many Pods as it may.
    TooManyPods,
    /// There is not enough left of a resource.
    Insufficient(Cow<'static, str>),
    /// It lacks a label by which Pods are spread.
    SpreadLabel,
    /// Pods would be spread too unevenly.
    Spread,
    /// A Pod that should be near is not.
    Affinity,
    /// A Pod that should be far is near.
    AntiAffinity,
    /// A Pod that is near wants this one far.
    ExistingAntiAffinity,
}

impl Reason {
    /// The plugin that refused.
    pub fn plugin(&self) -> Plugins {
        match self {
            Self::Unschedulable => Plugins::UNSCHEDULABLE,
            Self::Taint => Plugins::TAINTS,
            Self::NodeAffinity => Plugins::NODE_AFFINITY,
            Self::Ports => Plugins::PORTS,
            Self::TooManyPods | Self::Insufficient(_) => Plugins::RESOURCES,
            Self::SpreadLabel | Self::Spread => Plugins::SPREAD,
            Self::Affinity | Self::AntiAffinity | Self::ExistingAntiAffinity => {
                Plugins::POD_AFFINITY
            }
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unschedulable => f.write_str("node(s) were unschedulable"),
            Self::Taint => f.write_str("node(s) had untolerated taint(s)"),
            Self::NodeAffinity => f.write_str("node(s) didn't match Pod's node affinity/selector"),
            Self::Ports => {
                f.write_str("node(s) didn't have free ports for the requested pod ports")
            }
            Self::TooManyPods => f.write_str("Too many pods"),
            Self::Insufficient(name) => write!(f, "Insufficient {name}"),
            Self::SpreadLabel => f.write_str(
                "node(s) didn't match pod topology spread constraints (missing required label)",
            ),
            Self::Spread => f.write_str("node(s) didn't match pod topology spread constraints"),
            Self::Affinity => f.write_str("node(s) didn't match pod affinity rules"),
            Self::AntiAffinity => f.write_str("node(s) didn't match pod anti-affinity rules"),
            Self::ExistingAntiAffinity => {
                f.write_str("node(s) didn't satisfy existing pods anti-affinity rules")
            }
        }
    }
}

/// The refusal of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub reasons: Vec<Reason>,
    /// Whether it would help if Pods of lower priority went.
    pub resolvable: bool,
}

impl Refusal {
    /// A refusal that taking Pods away may resolve.
    pub fn resolvable(reason: Reason) -> Self {
        Self { reasons: vec![reason], resolvable: true }
    }

    /// A refusal that stays whatever Pods go.
    pub fn unresolvable(reason: Reason) -> Self {
        Self { reasons: vec![reason], resolvable: false }
    }
}
