//! What a query asks for, and what its answer looks like: its labels and its unit.

use std::{collections::BTreeSet, time::Duration};

use promql_parser::{
    label::MatchOp,
    parser::{
        self, AggregateExpr, BinaryExpr, Call, Expr, LabelModifier, SubqueryExpr, VectorSelector, token,
    },
};

use super::metrics::{Catalog, Series, Unit};

/// What Grafana puts in the place of its own intervals is known when it asks only: these lengths stand for them.
pub const RATE_INTERVAL: Duration = Duration::from_secs(7_654_321);
/// See [`RATE_INTERVAL`].
pub const RANGE: Duration = Duration::from_secs(8_765_432);

/// What comes out of an expression.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The labels of its series; none for a number.
    pub labels: Option<BTreeSet<String>>,
    /// What it measures.
    pub unit: Unit,
}

/// One use of a series.
#[derive(Clone, Debug)]
pub struct Selector {
    /// Its name.
    pub name: String,
    /// Its matchers, as `label`, `operator`, `value`.
    pub matchers: Vec<(String, &'static str, String)>,
}

/// What an expression is made of.
#[derive(Debug, Default)]
pub struct Parts {
    /// Every series that is asked for.
    pub selectors: Vec<Selector>,
    /// The ranges under `rate` and the like.
    pub ranges: Vec<Duration>,
}

/// Takes a query apart; what cannot work is an error.
pub fn analyse(query: &str, catalog: &Catalog) -> Result<(Answer, Parts), String> {
    let text = query
        .replace("$__rate_interval", &format!("{}s", RATE_INTERVAL.as_secs()))
        .replace("$__range", &format!("{}s", RANGE.as_secs()));
    let expression = parser::parse(&text).map_err(|error| format!("{error} in: {query}"))?;
    let mut analysis = Analysis {
        catalog,
        parts: Parts::default(),
    };
    let answer = analysis
        .expression(&expression)
        .map_err(|error| format!("{error} in: {query}"))?;
    Ok((answer, analysis.parts))
}

struct Analysis<'a> {
    catalog: &'a Catalog,
    parts: Parts,
}

impl Analysis<'_> {
    fn expression(&mut self, expression: &Expr) -> Result<Answer, String> {
        match expression {
            Expr::Paren(inner) => self.expression(&inner.expr),
            Expr::Unary(inner) => self.expression(&inner.expr),
            Expr::Aggregate(aggregate) => self.aggregate(aggregate),
            Expr::Binary(binary) => self.binary(binary),
            Expr::Call(call) => self.call(call),
            Expr::VectorSelector(selector) => {
                let series = self.selector(selector)?;
                if series.counter {
                    return Err(format!("a counter without its rate, {}", series.family));
                }
                Ok(of(&series))
            }
            Expr::MatrixSelector(_) | Expr::Subquery(_) => Err("a range where a value belongs".to_owned()),
            Expr::NumberLiteral(_) | Expr::StringLiteral(_) => Ok(Answer {
                labels: None,
                unit: Unit::default(),
            }),
            Expr::Extension(_) => Err("an extension".to_owned()),
        }
    }

    fn selector(&mut self, selector: &VectorSelector) -> Result<Series, String> {
        let name = selector.name.as_deref().ok_or("a selector without a name")?;
        let series = self
            .catalog
            .0
            .get(name)
            .ok_or_else(|| format!("no metric {name}"))?;
        let mut matchers = Vec::new();
        for matcher in &selector.matchers.matchers {
            if !series.labels.contains(&matcher.name) {
                return Err(format!("{name} has no label {}", matcher.name));
            }
            let operator = match matcher.op {
                MatchOp::Equal => "=",
                MatchOp::NotEqual => "!=",
                MatchOp::Re(_) => "=~",
                MatchOp::NotRe(_) => "!~",
            };
            matchers.push((matcher.name.clone(), operator, matcher.value.clone()));
        }
        self.parts.selectors.push(Selector {
            name: name.to_owned(),
            matchers,
        });
        Ok(series.clone())
    }

    fn aggregate(&mut self, aggregate: &AggregateExpr) -> Result<Answer, String> {
        let mut answer = self.expression(&aggregate.expr)?;
        let labels = answer.labels.take().ok_or("a number cannot be summed up")?;
        let ranks = [token::T_TOPK, token::T_BOTTOMK].contains(&aggregate.op.id());
        let kept = match &aggregate.modifier {
            Some(LabelModifier::Include(by)) => known(&by.labels, &labels)?,
            Some(LabelModifier::Exclude(without)) => {
                let gone = known(&without.labels, &labels)?;
                labels.difference(&gone).cloned().collect()
            }
            None if ranks => labels,
            None => BTreeSet::new(),
        };
        if aggregate.op.id() == token::T_COUNT {
            answer.unit = Unit::default();
        }
        answer.labels = Some(kept);
        Ok(answer)
    }

    fn call(&mut self, call: &Call) -> Result<Answer, String> {
        let name = call.func.name;
        let arguments = &call.args.args;
        let last = || arguments.last().ok_or_else(|| format!("{name} of nothing"));
        match name {
            "time" => Ok(Answer {
                labels: None,
                unit: Unit::INSTANT,
            }),
            "rate" | "irate" | "increase" => {
                let Expr::MatrixSelector(matrix) = &**last()? else {
                    return Err(format!("{name} of what is no range"));
                };
                let series = self.selector(&matrix.vs)?;
                if !series.counter {
                    return Err(format!("{name} of what is no counter, {}", series.family));
                }
                self.parts.ranges.push(matrix.range);
                let mut answer = of(&series);
                if name != "increase" {
                    answer.unit.seconds -= 1;
                }
                Ok(answer)
            }
            "histogram_quantile" => {
                let mut answer = self.expression(last()?)?;
                let labels = answer.labels.as_mut().ok_or("a quantile of a number")?;
                if !labels.remove("le") {
                    return Err("a quantile without le".to_owned());
                }
                // Every histogram here is one of times.
                answer.unit = Unit::SECONDS;
                Ok(answer)
            }
            "timestamp" => {
                let answer = self.expression(last()?)?;
                Ok(Answer {
                    unit: Unit::INSTANT,
                    ..answer
                })
            }
            "absent" => {
                self.expression(last()?)?;
                Ok(Answer {
                    labels: Some(BTreeSet::new()),
                    unit: Unit::default(),
                })
            }
            "avg_over_time" | "sum_over_time" | "min_over_time" | "max_over_time" => {
                let argument = arguments.first().ok_or_else(|| format!("{name} of nothing"))?;
                match &**argument {
                    Expr::Subquery(SubqueryExpr { expr, .. }) => self.expression(expr),
                    Expr::MatrixSelector(matrix) => {
                        let series = self.selector(&matrix.vs)?;
                        if series.counter {
                            return Err(format!("a counter without its rate, {}", series.family));
                        }
                        Ok(of(&series))
                    }
                    _ => Err(format!("{name} of what is no range")),
                }
            }
            "abs" | "round" | "clamp_max" | "clamp_min" => {
                let argument = arguments.first().ok_or_else(|| format!("{name} of nothing"))?;
                self.expression(argument)
            }
            other => Err(format!("{other} is a function that the check does not know")),
        }
    }

    fn binary(&mut self, binary: &BinaryExpr) -> Result<Answer, String> {
        let left = self.expression(&binary.lhs)?;
        let right = self.expression(&binary.rhs)?;
        let modifier = binary.modifier.as_ref();
        let unit = combined(binary, &left, &right)?;
        let operator = binary.op.id();
        let labels = match (left.labels, right.labels) {
            (None, labels) | (labels, None) => labels,
            (Some(left), Some(right)) => {
                let (left_key, right_key) = match modifier.and_then(|modifier| modifier.matching.as_ref()) {
                    Some(LabelModifier::Include(on)) => {
                        (known(&on.labels, &left)?, known(&on.labels, &right)?)
                    }
                    Some(LabelModifier::Exclude(_)) => return Err("ignoring is not understood".to_owned()),
                    None => (left.clone(), right.clone()),
                };
                // Sets that differ in their labels never meet; alternatives may.
                if operator == token::T_LOR {
                    return Ok(Answer {
                        labels: Some(left.union(&right).cloned().collect()),
                        unit,
                    });
                }
                if left_key != right_key {
                    return Err(format!(
                        "the two sides of an operator have other labels, {left_key:?} and {right_key:?}"
                    ));
                }
                Some(left)
            }
        };
        Ok(Answer { labels, unit })
    }
}

/// What an operator makes of two units.
fn combined(binary: &BinaryExpr, left: &Answer, right: &Answer) -> Result<Unit, String> {
    let operator = binary.op.id();
    let (a, b) = (left.unit, right.unit);
    let scalar = |answer: &Answer| answer.labels.is_none();
    Ok(match operator {
        // A rate times a number of seconds is a number; a time in milliseconds is one still.
        token::T_MUL if (scalar(left) || scalar(right)) && a.seconds + b.seconds == -1 => Unit::default(),
        token::T_MUL if a.instant || b.instant => Unit::INSTANT,
        token::T_MUL => Unit {
            seconds: a.seconds + b.seconds,
            bytes: a.bytes + b.bytes,
            instant: false,
        },
        token::T_DIV => Unit {
            seconds: a.seconds - b.seconds,
            bytes: a.bytes - b.bytes,
            instant: false,
        },
        token::T_SUB if a.instant && b.instant => Unit::SECONDS,
        token::T_ADD | token::T_SUB if !scalar(left) && !scalar(right) && a != b => {
            return Err("unlike units are added".to_owned());
        }
        token::T_LAND | token::T_LUNLESS | token::T_LOR => a,
        _ if binary
            .modifier
            .as_ref()
            .is_some_and(|modifier| modifier.return_bool) =>
        {
            Unit::default()
        }
        _ if scalar(left) => b,
        _ => a,
    })
}

fn of(series: &Series) -> Answer {
    Answer {
        labels: Some(series.labels.clone()),
        unit: series.unit,
    }
}

/// The named labels, all of which must be there.
fn known(named: &[String], labels: &BTreeSet<String>) -> Result<BTreeSet<String>, String> {
    match named.iter().find(|label| !labels.contains(*label)) {
        Some(label) => Err(format!("no label {label}")),
        None => Ok(named.iter().cloned().collect()),
    }
}
