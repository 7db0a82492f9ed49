//! What is asserted in every scene, whatever its file says: V1 to V6.

use crate::scene::{Bound, Check, Filter, Op, Scene};

/// Most memory of our host's process, in MiB.
const MEMORY_MAX: f64 = 300.0;
/// Tasks more at the end than before the first message.
const TASKS_MAX: f64 = 2.0;

/// The standing checks; `real` ones need a process of their own.
pub fn checks(scene: &Scene, real: bool) -> Vec<Check> {
    let check = |title: &str, measure: &str, op, bound| Check {
        that: title.to_owned(),
        measure: measure.to_owned(),
        op,
        bound,
        filter: Filter::default(),
    };
    let mut all = vec![
        check("V1 nothing is lost", "lost", Op::Is, Bound::Number(0.0)),
        // A crash between the remote's 250 and our record cannot be closed by SMTP.
        check("V1 nothing is doubled", "doubled", Op::AtMost, Bound::Measure("restarts".into())),
        check("V1 everything handed in is taken", "unaccepted", Op::Is, Bound::Number(0.0)),
        check("V2 no legitimate message is refused", "refused", Op::Is, Bound::Number(0.0)),
        check(
            "V3 operator actions",
            "operator_actions",
            Op::Is,
            Bound::Number(scene.operator_actions as f64),
        ),
        check(
            "V4 each decision says what, why, and how to undo it",
            "audit_incomplete",
            Op::Is,
            Bound::Number(0.0),
        ),
    ];
    if real {
        all.push(check("V5 memory", "memory_max", Op::AtMost, Bound::Number(MEMORY_MAX)));
    } else if !scene.faults.iter().any(|f| f.what == crate::scene::Broken::Kill) {
        all.push(check("V5 no task is left behind", "tasks_leaked", Op::AtMost, Bound::Number(TASKS_MAX)));
    }
    all.push(check(
        "V6 the routes shown are the routes there are",
        "routes_wrong",
        Op::Is,
        Bound::Number(0.0),
    ));
    all
}
