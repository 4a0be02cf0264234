//! Limits for the length of files and functions.

use proc_macro2::Span;
use syn::visit::{self, Visit};
use syn::{FnArg, Signature};

use super::imports::is_test;

/// Limit for the lines of code of a file, without unit tests (exclusive).
const FILE: usize = 450;
/// Limit for the lines of code within the braces of a function (exclusive).
const FUNCTION: usize = 70;
/// Limit for the parameters of a function, without `self` (inclusive).
const PARAMETERS: usize = 5;

/// Returns every violation of a limit in this file.
pub fn exceeded(name: &str, text: &str) -> Vec<String> {
    let file = syn::parse_file(text).unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut measure = Measure {
        name,
        lines: text.lines().map(is_code).collect(),
        exceeded: Vec::new(),
    };
    measure.visit_file(&file);
    let lines = measure.lines.iter().filter(|is_code| **is_code).count();
    let mut exceeded = measure.exceeded;
    if lines >= FILE {
        exceeded.push(format!("{name} has {lines} lines of code"));
    }
    exceeded
}

fn is_code(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty() && !line.starts_with("//")
}

struct Measure<'a> {
    name: &'a str,
    /// True for each line of code outside unit tests.
    lines: Vec<bool>,
    exceeded: Vec<String>,
}

impl Measure<'_> {
    fn measure(&mut self, signature: &Signature, open: Span, close: Span) {
        let inside = open.start().line..close.start().line.saturating_sub(1);
        let lines = self.lines.get(inside).unwrap_or_default().iter();
        let lines = lines.filter(|is_code| **is_code).count();
        let parameters = signature.inputs.iter();
        let parameters = parameters.filter(|one| matches!(one, FnArg::Typed(_)));
        let (name, parameters) = (&signature.ident, parameters.count());
        if lines >= FUNCTION {
            let text = format!("{}: {name} has {lines} lines", self.name);
            self.exceeded.push(text);
        }
        if parameters > PARAMETERS {
            let text = format!("{}: {name} has {parameters} parameters", self.name);
            self.exceeded.push(text);
        }
    }
}

impl<'ast> Visit<'ast> for Measure<'_> {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !is_test(&item.attrs) {
            return visit::visit_item_mod(self, item);
        }
        let first = item.attrs[0].pound_token.span.start().line - 1;
        let last = match &item.content {
            Some((braces, _)) => braces.span.close().start().line,
            None => first + 2,
        };
        self.lines[first..last].fill(false);
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        let braces = item.block.brace_token.span;
        self.measure(&item.sig, braces.open(), braces.close());
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        let braces = item.block.brace_token.span;
        self.measure(&item.sig, braces.open(), braces.close());
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        let own = item.sig.ident.span();
        let braces = item.default.as_ref().map(|block| block.brace_token.span);
        let (open, close) = braces.map_or((own, own), |span| (span.open(), span.close()));
        self.measure(&item.sig, open, close);
        visit::visit_trait_item_fn(self, item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(lines: usize, parameters: &str) -> String {
        let body = "    // a comment\n\n    f();\n".repeat(lines);
        format!("impl X {{\nfn long(&self, {parameters}) {{\n{body}}}\n}}\n")
    }

    #[test]
    fn comments_blank_lines_self_and_unit_tests_do_not_count() {
        let five = "a: u8, b: u8, c: u8, d: u8, e: u8";
        assert_eq!(exceeded("x.rs", &function(FUNCTION - 1, five)), [""; 0]);
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", function(500, "f: u8"));
        assert_eq!(exceeded("x.rs", &tests), [""; 0]);
        let found = exceeded("x.rs", &function(FUNCTION, &format!("{five}, f: u8")));
        assert_eq!(
            found,
            ["x.rs: long has 70 lines", "x.rs: long has 6 parameters"]
        );
        assert_eq!(exceeded("x.rs", &"fn f() {}\n".repeat(FILE)).len(), 1);
    }
}
