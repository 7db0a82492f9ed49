//! Functions stay within 70 lines, files within 700.

use proc_macro2::Span;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use super::{Fault, Source};

const FUNCTION_LINES_MAX: usize = 70;
const FILE_LINES_MAX: usize = 700;

pub fn check(source: &Source) -> Vec<Fault> {
    let mut faults = Vec::new();
    let lines = source.text.lines().count();
    if lines > FILE_LINES_MAX {
        faults.push(Fault::new(
            &source.path,
            format!("{lines} lines, more than {FILE_LINES_MAX}: this room wants a wall"),
        ));
    }
    let Ok(file) = syn::parse_file(&source.text) else {
        faults.push(Fault::new(&source.path, "does not parse as Rust"));
        return faults;
    };
    let mut walk = Walk { path: &source.path, faults: &mut faults };
    walk.visit_file(&file);
    faults
}

struct Walk<'a> {
    path: &'a str,
    faults: &'a mut Vec<Fault>,
}

impl Walk<'_> {
    fn measure(&mut self, name: &syn::Ident, body: Span) {
        let lines = body.end().line.saturating_sub(name.span().start().line) + 1;
        if lines > FUNCTION_LINES_MAX {
            let at = format!("{}:{}", self.path, name.span().start().line);
            self.faults
                .push(Fault::new(at, format!("fn {name} has {lines} lines, more than {FUNCTION_LINES_MAX}")));
        }
    }
}

impl<'ast> Visit<'ast> for Walk<'_> {
    fn visit_item_fn(&mut self, f: &'ast syn::ItemFn) {
        self.measure(&f.sig.ident, f.block.span());
        visit::visit_item_fn(self, f);
    }
    fn visit_impl_item_fn(&mut self, f: &'ast syn::ImplItemFn) {
        self.measure(&f.sig.ident, f.block.span());
        visit::visit_impl_item_fn(self, f);
    }
    fn visit_trait_item_fn(&mut self, f: &'ast syn::TraitItemFn) {
        if let Some(block) = &f.default {
            self.measure(&f.sig.ident, block.span());
        }
        visit::visit_trait_item_fn(self, f);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: String) -> Vec<Fault> {
        check(&Source { room: "words".into(), path: "x.rs".into(), text })
    }

    #[test]
    fn a_function_of_seventy_lines_passes_and_one_more_fails() {
        let body = |n: usize| format!("fn f() {{\n{}}}\n", "    g();\n".repeat(n));
        assert!(faults(body(68)).is_empty());
        assert_eq!(faults(body(69)).len(), 1);
        let method = format!("impl A {{ {} }}", body(69));
        assert_eq!(faults(method).len(), 1);
    }

    #[test]
    fn a_file_of_more_than_seven_hundred_lines_fails() {
        assert!(faults("\n".repeat(700)).is_empty());
        assert_eq!(faults("\n".repeat(701)).len(), 1);
    }

    #[test]
    fn a_text_that_is_no_rust_is_said() {
        assert_eq!(faults("fn {".into()).len(), 1);
    }
}
