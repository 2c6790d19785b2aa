//! Every key that a configuration file may have: what the parser accepts and what the schema for editors says are both made of this.

/// What may stand for a key.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// A text.
    Text,
    /// An address and a port.
    Address,
    /// A time as people write it: `500ms`, `10s`, `2m`, `1h30m`.
    Time,
    /// `true` or `false`.
    Boolean,
    /// A list of texts.
    Texts,
    /// A list of texts, or a table of such lists by variable.
    Empties,
    /// A table of texts by name.
    Globs,
    /// The name of a kind of finding.
    Kind,
    /// The name of a tier.
    Tier,
    /// A table.
    Table(&'static [Key]),
    /// A list of tables.
    Tables(&'static [Key]),
}

/// A key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// How it is written.
    pub name: &'static str,
    /// What may stand for it.
    pub shape: Shape,
    /// It must be there.
    pub required: bool,
    /// What it is for, in one sentence.
    pub about: &'static str,
}

impl Key {
    const fn new(name: &'static str, shape: Shape, about: &'static str) -> Self {
        Self {
            name,
            shape,
            required: false,
            about,
        }
    }

    const fn required(self) -> Self {
        Self {
            required: true,
            ..self
        }
    }
}

/// `[agent]`.
pub const AGENT: [Key; 3] = [
    Key::new(
        "listen",
        Shape::Address,
        "Where the agent serves HTTP; 127.0.0.1:9464 by default.",
    ),
    Key::new(
        "only_services",
        Shape::Boolean,
        "Attach to processes that a [[service]] selects only; so it is by default where there is one.",
    ),
    Key::new(
        "disarm_after",
        Shape::Time,
        "Let go of an interpreter's files when nobody has run from them for so long; a minute by default.",
    ),
];

/// `[privacy]`.
pub const PRIVACY: [Key; 2] = [
    Key::new("reveal", Shape::Boolean, "Show values instead of keyed hashes."),
    Key::new(
        "key_file",
        Shape::Text,
        "File with the key of the hashes, so that they agree between runs and machines.",
    ),
];

/// `[wire]`.
pub const WIRE: [Key; 1] = [Key::new(
    "credentials",
    Shape::Texts,
    "Headers of HTTP that say who asks, besides Authorization and X-API-Key.",
)];

const IDENTITY: Key = Key::new(
    "identity",
    Shape::Texts,
    "Variables that say who a request is for: NAME, module:NAME, or NAME.path.to.value.",
);
const REQUEST: Key = Key::new("request", Shape::Texts, "Variables that say which request it is.");
const DIGEST: Key = Key::new("digest", Shape::Texts, "Variables that hold a pinned digest.");
const EMPTY: Key = Key::new(
    "empty",
    Shape::Empties,
    "Values that count as nothing, for all variables or by variable.",
);
const MINT: Key = Key::new(
    "mint",
    Shape::Texts,
    "Globs over module.qualname of functions that create durable tasks.",
);
const POLICY: Key = Key::new(
    "policy",
    Shape::Texts,
    "Globs over module.qualname of functions that decide what somebody may do.",
);
const READ_WIRE: Key = Key::new(
    "wire",
    Shape::Boolean,
    "Read what the processes receive and send.",
);
const TASKS: Key = Key::new("tasks", Shape::Boolean, "Follow asyncio tasks; comes with wire.");
const TIER: Key = Key::new(
    "tier",
    Shape::Tier,
    "How much is watched: \"full\", or \"handoffs\", which has no probe on reads.",
);

/// `[watch]`.
pub const WATCH: [Key; 9] = [
    IDENTITY, REQUEST, DIGEST, EMPTY, MINT, POLICY, READ_WIRE, TASKS, TIER,
];

/// `match` of `[[service]]`.
pub const MATCH: [Key; 5] = [
    Key::new("exe", Shape::Text, "Glob over the path of the executable."),
    Key::new(
        "cmdline",
        Shape::Text,
        "Glob over the arguments, joined by spaces.",
    ),
    Key::new("user", Shape::Text, "Name or number of the user."),
    Key::new("cgroup", Shape::Text, "Glob over the control group."),
    Key::new(
        "env",
        Shape::Globs,
        "Globs over the values of variables of the environment that the process was started with.",
    ),
];

/// `[[service]]`.
pub const SERVICE: [Key; 11] = [
    Key::new(
        "match",
        Shape::Table(&MATCH),
        "Which processes: all that is given must fit.",
    )
    .required(),
    Key::new(
        "name",
        Shape::Text,
        "What they are called in findings and metrics.",
    ),
    IDENTITY,
    REQUEST,
    DIGEST,
    EMPTY,
    MINT,
    POLICY,
    READ_WIRE,
    TASKS,
    TIER,
];

/// `[[allow]]`.
pub const ALLOW: [Key; 3] = [
    Key::new("kind", Shape::Kind, "Kind of finding.").required(),
    Key::new(
        "site",
        Shape::Text,
        "Glob over `file:line` or `function (file:line)` of any place that the finding names.",
    )
    .required(),
    Key::new(
        "reason",
        Shape::Text,
        "Why it is accepted: stands with each such finding.",
    )
    .required(),
];

/// The whole file.
pub const FILE: [Key; 6] = [
    Key::new("agent", Shape::Table(&AGENT), "The daemon."),
    Key::new(
        "privacy",
        Shape::Table(&PRIVACY),
        "How identities leave the agent.",
    ),
    Key::new(
        "wire",
        Shape::Table(&WIRE),
        "How what processes receive and send is read.",
    ),
    Key::new(
        "watch",
        Shape::Table(&WATCH),
        "What is watched in processes that have no rule of their own.",
    ),
    Key::new(
        "service",
        Shape::Tables(&SERVICE),
        "What is watched in some processes; the first that matches counts.",
    ),
    Key::new("allow", Shape::Tables(&ALLOW), "Findings that are accepted."),
];
