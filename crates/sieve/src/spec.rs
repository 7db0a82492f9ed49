//! Every command and test: its arguments, and the extension it needs.

/// What a positional argument, or the value of a tag, must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    Number,
    Text,
    /// A string or a list of them.
    Texts,
}

impl Want {
    pub(crate) fn describe(self) -> &'static str {
        match self {
            Want::Number => "a number",
            Want::Text => "a string",
            Want::Texts => "a string list",
        }
    }
}

/// Which tests stand behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tests {
    None,
    One,
    /// In parentheses.
    Several,
}

/// A tagged argument.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tag {
    pub(crate) name: &'static str,
    pub(crate) value: Option<Want>,
    /// Only one tag of a group may be given.
    pub(crate) group: &'static str,
    /// The extension it needs; empty for none.
    pub(crate) needs: &'static str,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Spec {
    pub(crate) name: &'static str,
    pub(crate) needs: &'static str,
    pub(crate) wants: &'static [Want],
    /// How many of the first positional arguments may be left out.
    pub(crate) optional: usize,
    /// The last one may be left out.
    pub(crate) open_ended: bool,
    pub(crate) tags: &'static [&'static [Tag]],
    pub(crate) tests: Tests,
    pub(crate) block: bool,
}

pub(crate) const fn tag(name: &'static str, group: &'static str) -> Tag {
    Tag { name, value: None, group, needs: "" }
}

const fn ext(name: &'static str, group: &'static str, needs: &'static str) -> Tag {
    Tag { name, value: None, group, needs }
}

const fn with(name: &'static str, value: Want, needs: &'static str) -> Tag {
    Tag { name, value: Some(value), group: name, needs }
}

/// RFC 5228 §2.7, RFC 5231, regex draft.
pub(crate) const MATCH: &[Tag] = &[
    tag("is", "match type"),
    tag("contains", "match type"),
    tag("matches", "match type"),
    Tag { name: "count", value: Some(Want::Text), group: "match type", needs: "relational" },
    Tag { name: "value", value: Some(Want::Text), group: "match type", needs: "relational" },
    ext("regex", "match type", "regex"),
    with("comparator", Want::Text, ""),
];
/// RFC 5228 §2.7.4, RFC 5233.
const PART: &[Tag] = &[
    tag("all", "address part"),
    tag("localpart", "address part"),
    tag("domain", "address part"),
    ext("user", "address part", "subaddress"),
    ext("detail", "address part", "subaddress"),
];
/// RFC 5260 §6.
const INDEX: &[Tag] = &[with("index", Want::Number, "index"), ext("last", "last", "index")];
const FLAGS: &[Tag] = &[with("flags", Want::Texts, "imap4flags")];
const COPY: &[Tag] = &[ext("copy", "copy", "copy")];
const INTO: &[Tag] = &[ext("create", "create", "mailbox"), with("specialuse", Want::Text, "special-use")];
const ZONE: &[Tag] = &[Tag { name: "zone", value: Some(Want::Text), group: "zone", needs: "" }];
const ORIGINAL: &[Tag] = &[tag("originalzone", "zone")];
const SIZE: &[Tag] = &[tag("over", "size"), tag("under", "size")];
const BODY: &[Tag] = &[
    tag("raw", "body transform"),
    tag("text", "body transform"),
    Tag { name: "content", value: Some(Want::Texts), group: "body transform", needs: "" },
];
const VACATION: &[Tag] = &[
    Tag { name: "days", value: Some(Want::Number), group: "days or seconds", needs: "" },
    Tag { name: "seconds", value: Some(Want::Number), group: "days or seconds", needs: "vacation-seconds" },
    with("subject", Want::Text, ""),
    with("from", Want::Text, ""),
    with("addresses", Want::Texts, ""),
    with("handle", Want::Text, ""),
    tag("mime", "mime"),
];
/// RFC 5229 §4.1: one modifier of each precedence.
const SET: &[Tag] = &[
    tag("lower", "modifier of precedence 40"),
    tag("upper", "modifier of precedence 40"),
    tag("lowerfirst", "modifier of precedence 30"),
    tag("upperfirst", "modifier of precedence 30"),
    tag("quotewildcard", "modifier of precedence 20"),
    ext("quoteregex", "modifier of precedence 20", "regex"),
    tag("length", "modifier of precedence 10"),
];
const INCLUDE: &[Tag] = &[
    tag("personal", "location"),
    tag("global", "location"),
    tag("once", "once"),
    tag("optional", "optional"),
];
const ADDHEADER: &[Tag] = &[tag("last", "last")];
const DELETEHEADER: &[Tag] =
    &[Tag { name: "index", value: Some(Want::Number), group: "index", needs: "" }, tag("last", "last")];
const DUPLICATE: &[Tag] = &[
    with("handle", Want::Text, ""),
    Tag { name: "header", value: Some(Want::Text), group: "header or unique id", needs: "" },
    Tag { name: "uniqueid", value: Some(Want::Text), group: "header or unique id", needs: "" },
    with("seconds", Want::Number, ""),
    tag("last", "last"),
];

pub(crate) const fn spec(
    name: &'static str,
    needs: &'static str,
    wants: &'static [Want],
    tags: &'static [&'static [Tag]],
) -> Spec {
    Spec { name, needs, wants, optional: 0, open_ended: false, tags, tests: Tests::None, block: false }
}

const N: Want = Want::Number;
const S: Want = Want::Text;
const L: Want = Want::Texts;

pub(crate) const COMMANDS: &[Spec] = &[
    spec("require", "", &[L], &[]),
    Spec { tests: Tests::One, block: true, ..spec("if", "", &[], &[]) },
    Spec { tests: Tests::One, block: true, ..spec("elsif", "", &[], &[]) },
    Spec { block: true, ..spec("else", "", &[], &[]) },
    spec("stop", "", &[], &[]),
    spec("discard", "", &[], &[]),
    spec("keep", "", &[], &[FLAGS]),
    spec("redirect", "", &[S], &[COPY]),
    spec("fileinto", "fileinto", &[S], &[FLAGS, COPY, INTO]),
    spec("reject", "reject", &[S], &[]),
    spec("ereject", "ereject", &[S], &[]),
    spec("vacation", "vacation", &[S], &[VACATION]),
    spec("set", "variables", &[S, S], &[SET]),
    Spec { optional: 1, ..spec("setflag", "imap4flags", &[S, L], &[]) },
    Spec { optional: 1, ..spec("addflag", "imap4flags", &[S, L], &[]) },
    Spec { optional: 1, ..spec("removeflag", "imap4flags", &[S, L], &[]) },
    spec("include", "include", &[S], &[INCLUDE]),
    spec("return", "include", &[], &[]),
    spec("global", "include", &[L], &[]),
    spec("addheader", "editheader", &[S, S], &[ADDHEADER]),
    Spec { open_ended: true, ..spec("deleteheader", "editheader", &[S, L], &[DELETEHEADER, MATCH]) },
    spec("error", "ihave", &[S], &[]),
];

pub(crate) const TESTS: &[Spec] = &[
    spec("true", "", &[], &[]),
    spec("false", "", &[], &[]),
    Spec { tests: Tests::One, ..spec("not", "", &[], &[]) },
    Spec { tests: Tests::Several, ..spec("anyof", "", &[], &[]) },
    Spec { tests: Tests::Several, ..spec("allof", "", &[], &[]) },
    spec("header", "", &[L, L], &[MATCH, INDEX]),
    spec("address", "", &[L, L], &[MATCH, PART, INDEX]),
    spec("envelope", "envelope", &[L, L], &[MATCH, PART]),
    spec("exists", "", &[L], &[]),
    spec("size", "", &[N], &[SIZE]),
    spec("string", "variables", &[L, L], &[MATCH]),
    Spec { optional: 1, ..spec("hasflag", "imap4flags", &[L, L], &[MATCH]) },
    spec("date", "date", &[S, S, L], &[MATCH, INDEX, ZONE, ORIGINAL]),
    spec("currentdate", "date", &[S, L], &[MATCH, ZONE]),
    spec("body", "body", &[L], &[MATCH, BODY]),
    spec("environment", "environment", &[S, L], &[MATCH]),
    spec("mailboxexists", "mailbox", &[L], &[]),
    Spec { optional: 1, ..spec("specialuse_exists", "special-use", &[S, L], &[]) },
    spec("duplicate", "duplicate", &[], &[DUPLICATE]),
    spec("ihave", "ihave", &[L], &[]),
];

/// What `require` accepts, as ManageSieve lists it.
pub const EXTENSIONS: &[&str] = &[
    "fileinto",
    "reject",
    "ereject",
    "envelope",
    "encoded-character",
    "vacation",
    "vacation-seconds",
    "subaddress",
    "comparator-i;ascii-numeric",
    "comparator-i;unicode-casemap",
    "relational",
    "regex",
    "imap4flags",
    "copy",
    "include",
    "body",
    "variables",
    "mailbox",
    "special-use",
    "date",
    "index",
    "ihave",
    "duplicate",
    "editheader",
    "environment",
];

/// Whether a name can be required.
pub(crate) fn is_known(extension: &str) -> bool {
    EXTENSIONS.contains(&extension)
        || matches!(extension, "comparator-i;octet" | "comparator-i;ascii-casemap")
}
