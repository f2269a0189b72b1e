//! The JavaScript that comes with a codec module, made fit for Workers.

use anyhow::{Result, bail};

/// Where Emscripten's embind makes functions out of strings, and the calls of `edge/js/embind.mjs` in their place.
const REPLACEMENTS: [(&str, &str); 2] = [
    (
        "newFunc(Function,args)(...closureArgs)",
        "functionOf(argTypes,returns,cppInvokerFunc,cppTargetFunc,runDestructors)",
    ),
    (
        "newFunc(Function,params)(...args)",
        "callerOf(types,retType,kind,emval_returnValue)",
    ),
];

/// Glue without code made at run time, for a file in `edge/build`.
///
/// # Errors
/// When the glue is not the one that this was written for.
pub(super) fn without_evaluation(glue: &str) -> Result<String> {
    let mut text = glue.to_owned();
    for (from, to) in REPLACEMENTS {
        match text.matches(from).count() {
            1 => text = text.replacen(from, to, 1),
            count => {
                bail!("it has `{from}` {count} times instead of once: the package's version is another than expected")
            }
        }
    }
    Ok(format!(
        "import {{ functionOf, callerOf }} from \"../js/embind.mjs\";\n{text}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_made_without_strings() {
        let glue = "a=newFunc(Function,args)(...closureArgs);b=newFunc(Function,params)(...args);";
        let text = without_evaluation(glue).unwrap();
        assert!(!text.contains("newFunc"), "{text}");
        assert!(
            text.starts_with("import ") && text.contains("a=functionOf(argTypes,"),
            "{text}"
        );
    }

    #[test]
    fn other_glue_is_refused() {
        let twice = "newFunc(Function,args)(...closureArgs);newFunc(Function,args)(...closureArgs)";
        for (glue, count) in [("", "0 times"), (twice, "2 times")] {
            let error = without_evaluation(glue).unwrap_err().to_string();
            assert!(error.contains(count), "{error}");
        }
    }
}
