//! Bounds on scripts and on what they do.

/// Limits an operator may set; the defaults suit everybody seen so far.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Octets of one script.
    pub script_max: usize,
    /// Actions of one run.
    pub actions_max: usize,
    /// Redirects of one run; 0 forbids them.
    pub redirects_max: usize,
    /// Scripts included, in all, and one inside the other.
    pub includes_max: usize,
    pub include_depth_max: usize,
    /// Variables in one scope, and octets of one value.
    pub variables_max: usize,
    pub value_max: usize,
    /// Octets compared in one run: a script that wants more is stopped.
    pub work_max: u64,
    /// The shortest and longest time between two vacation replies to one sender.
    pub vacation_seconds_min: u64,
    pub vacation_seconds_max: u64,
    pub vacation_seconds_default: u64,
    /// How long a mark of `duplicate` lives at most, and by default.
    pub duplicate_seconds_max: u64,
    pub duplicate_seconds_default: u64,
    /// Header fields that `addheader` and `deleteheader` leave alone, beside those that
    /// RFC 5293 protects anyway.
    pub fields_not_added: Vec<String>,
    pub fields_not_deleted: Vec<String>,
    /// Octets of a header field that `addheader` makes.
    pub field_max: usize,
}

/// Blocks, and tests, one inside the other.
pub(crate) const NESTING_MAX: usize = 32;
/// Arguments of one command, and strings in one list.
pub(crate) const ARGUMENTS_MAX: usize = 32;
pub(crate) const STRINGS_MAX: usize = 4096;
/// Characters of an identifier or tag.
pub(crate) const NAME_MAX: usize = 32;

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            script_max: 1 << 20,
            actions_max: 32,
            redirects_max: 4,
            includes_max: 255,
            include_depth_max: 10,
            variables_max: 255,
            value_max: 64 * 1024,
            work_max: 1 << 30,
            vacation_seconds_min: 86_400,
            vacation_seconds_max: 31 * 86_400,
            vacation_seconds_default: 7 * 86_400,
            duplicate_seconds_max: 7 * 86_400,
            duplicate_seconds_default: 7 * 86_400,
            fields_not_added: Vec::new(),
            fields_not_deleted: Vec::new(),
            field_max: 2048,
        }
    }
}
