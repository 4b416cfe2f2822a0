//! SPDX licence expressions as crates write them: terms, `AND`, `OR`, `WITH`, parentheses, and
//! the old `/` for `OR`.
//!
//! ```text
//! any  = all ("OR" all)*
//! all  = term ("AND" term)*
//! term = "(" any ")" | id ["WITH" id]
//! ```

/// Whether the terms that `allows` says yes to are enough for this expression. One that cannot
/// be read permits nothing.
pub(crate) fn permits(expression: &str, allows: &dyn Fn(&str) -> bool) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let mut reader = Reader { words: spaced.split_whitespace().collect(), at: 0, allows };
    let verdict = reader.any();
    reader.at == reader.words.len() && verdict == Some(true)
}

struct Reader<'a> {
    words: Vec<&'a str>,
    at: usize,
    allows: &'a dyn Fn(&str) -> bool,
}

impl<'a> Reader<'a> {
    fn any(&mut self) -> Option<bool> {
        let mut verdict = self.all()?;
        while self.take("OR") {
            // Both sides are always read: the rest of the words must be understood too.
            verdict |= self.all()?;
        }
        Some(verdict)
    }

    fn all(&mut self) -> Option<bool> {
        let mut verdict = self.term()?;
        while self.take("AND") {
            verdict &= self.term()?;
        }
        Some(verdict)
    }

    fn term(&mut self) -> Option<bool> {
        if self.take("(") {
            let verdict = self.any()?;
            return self.take(")").then_some(verdict);
        }
        let id = self.id()?;
        if self.take("WITH") {
            let exception = self.id()?;
            return Some((self.allows)(&format!("{id} WITH {exception}")));
        }
        Some((self.allows)(id))
    }

    fn id(&mut self) -> Option<&'a str> {
        let word = *self.words.get(self.at)?;
        if ["AND", "OR", "WITH", "(", ")"].contains(&word) {
            return None;
        }
        self.at += 1;
        Some(word)
    }

    fn take(&mut self, word: &str) -> bool {
        let found = self.words.get(self.at) == Some(&word);
        self.at += usize::from(found);
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_mit_and_isc(expression: &str) -> bool {
        permits(expression, &|term| ["MIT", "ISC"].contains(&term))
    }

    #[test]
    fn a_choice_needs_one_and_a_sum_needs_all() {
        assert!(with_mit_and_isc("MIT"));
        assert!(with_mit_and_isc("GPL-3.0-only OR MIT"));
        assert!(with_mit_and_isc("MIT/Apache-2.0"));
        assert!(with_mit_and_isc("ISC AND (Apache-2.0 OR MIT)"));
        assert!(!with_mit_and_isc("MIT AND BSD-3-Clause"));
        assert!(!with_mit_and_isc("Apache-2.0 WITH LLVM-exception"));
        // AND binds tighter than OR.
        assert!(with_mit_and_isc("MIT OR ISC AND GPL-3.0-only"));
    }

    #[test]
    fn what_cannot_be_read_permits_nothing() {
        for expression in ["", "OR MIT", "MIT OR", "(MIT", "MIT)", "MIT ISC", "()"] {
            assert!(!with_mit_and_isc(expression), "{expression:?}");
        }
    }
}
