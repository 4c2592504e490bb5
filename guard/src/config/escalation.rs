//! `bantime.increment` and what goes with it: bans that grow.
//!
//! Input: the `bantime.*` options. Output: [`Escalation`], or none. `bantime.formula` is
//! Python in Fail2Ban; here it is never run: its stock form is what guard does, any other
//! is told. Invariant: factor and multipliers are finite and not negative.

use crate::config::diagnostic::{Checked, Diagnostic, Diagnostics};
use crate::config::resolve::{Resolved, taken};
use crate::config::text::Text;
use crate::config::{options, time};
use crate::core::jail::Escalation;
use crate::core::time::Span;

/// Fail2Ban's own formula, without white space.
const STOCK: &str = "ban.Time*(1<<(ban.Countifban.Count<20else20))*banFactor";

/// How the bans of a jail grow; `Some(None)` if they do not, nothing if an error is told.
pub(crate) fn escalation(
    jail: &Resolved<'_>,
    found: &mut Diagnostics,
) -> Option<Option<Escalation>> {
    let boolean = |key: &str, found: &mut Diagnostics| match jail.option(key) {
        None => Some(false),
        Some(value) => taken(options::boolean(key, value), found),
    };
    if !boolean("bantime.increment", found)? {
        return Some(None);
    }
    let factor = jail.option("bantime.factor").map(|value| taken(factor(value), found));
    let multipliers = jail.option("bantime.multipliers").map(|v| taken(multipliers(v), found));
    if let Some(formula) = jail.option("bantime.formula")
        && multipliers.is_none()
        && formula.as_str().split_whitespace().collect::<String>() != STOCK
    {
        found.push(
            Diagnostic::warning("bantime.formula is not evaluated; each ban is twice as long")
                .at(formula)
                .help("a ban lasts bantime * 2^min(count, 20) * factor; write bantime.multipliers for other steps"),
        );
    }
    let max_time = jail.option("bantime.maxtime").map(|v| taken(max_time(v), found));
    let random_time = jail.option("bantime.rndtime").map(|v| taken(random_time(v), found));
    let over_all_jails = boolean("bantime.overalljails", found);
    Some(Some(Escalation {
        factor: factor.unwrap_or(Some(1.0))?,
        multipliers: multipliers.unwrap_or(Some(Vec::new()))?,
        max_time: max_time.unwrap_or(Some(None))?,
        random_time: random_time.unwrap_or(Some(Span::ZERO))?,
        over_all_jails: over_all_jails?,
    }))
}

/// A number, or a product or quotient of numbers.
fn factor(value: &Text) -> Checked<f64> {
    let number = || {
        let mut product: Option<f64> = None;
        for (i, part) in value.as_str().split('*').enumerate() {
            let mut quotient: Option<f64> = None;
            for part in part.split('/') {
                let number: f64 = part.trim().parse().ok()?;
                quotient = Some(quotient.map_or(number, |quotient| quotient / number));
            }
            product = Some(if i == 0 { quotient? } else { product? * quotient? });
        }
        product.filter(|number| number.is_finite() && *number >= 0.0)
    };
    number().ok_or_else(|| {
        Diagnostic::error(format!("bantime.factor = `{value}` is no number"))
            .at(value)
            .help("write a number such as `bantime.factor = 1` or 0.5")
            .into()
    })
}

/// Numbers, separated by white space or commas.
fn multipliers(value: &Text) -> Checked<Vec<f64>> {
    let items = value.split(|c| c.is_whitespace() || c == ',');
    let number = |item: &Text| {
        let number = item.as_str().parse::<f64>().ok();
        number.filter(|number| number.is_finite() && *number >= 0.0).ok_or_else(|| {
            Diagnostic::error(format!("bantime.multipliers: `{item}` is no number"))
                .at(item)
                .help("write numbers separated by spaces, such as `1 2 4 8 16 32 64`")
                .into()
        })
    };
    items.iter().map(number).collect()
}

/// A negative one is no bound.
fn max_time(value: &Text) -> Checked<Option<Span>> {
    time::length("bantime.maxtime", value)
}

fn random_time(value: &Text) -> Checked<Span> {
    Ok(time::length("bantime.rndtime", value)?.unwrap_or(Span::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_and_multipliers() {
        let factor = |text: &str| factor(&Text::generated(text)).ok();
        for (text, expected) in [
            ("1", Some(1.0)),
            ("2.0 / 4", Some(0.5)),
            ("3*2", Some(6.0)),
            ("x", None),
            ("1/0", None),
            ("-1", None),
            ("__import__('os')", None),
        ] {
            assert_eq!(factor(text), expected, "{text}");
        }
        let multipliers = |text: &str| multipliers(&Text::generated(text)).ok();
        assert_eq!(multipliers("1 2  4"), Some(vec![1.0, 2.0, 4.0]));
        assert_eq!(multipliers("1 two"), None);
    }
}
