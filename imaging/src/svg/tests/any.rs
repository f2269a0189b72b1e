//! Documents of any kind, well-formed and not.

use super::{process, sanitised, svg};
use proptest::prelude::*;

/// Elements and attributes with all kinds of values, nested at will.
fn element() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        Just("g"),
        Just("rect"),
        Just("path"),
        Just("use"),
        Just("text"),
        Just("pattern"),
        Just("mask"),
        Just("filter"),
        Just("feGaussianBlur"),
        Just("feMorphology"),
        Just("feTile"),
        Just("linearGradient"),
        Just("marker"),
        Just("svg"),
        Just("symbol"),
        Just("clipPath"),
        Just("image"),
        Just("textPath"),
        Just("radialGradient"),
        Just("stop"),
        Just("tspan"),
    ];
    let key = prop_oneof![
        Just("id"),
        Just("href"),
        Just("fill"),
        Just("stroke"),
        Just("d"),
        Just("width"),
        Just("height"),
        Just("transform"),
        Just("x"),
        Just("r"),
        Just("mask"),
        Just("filter"),
        Just("viewBox"),
        Just("stdDeviation"),
        Just("stroke-dasharray"),
        Just("opacity"),
        Just("font-size"),
        Just("marker-mid"),
        Just("offset"),
        Just("style"),
        Just("radius"),
        Just("dx"),
    ];
    let value = prop_oneof![
        Just("a".to_owned()),
        Just("#a".to_owned()),
        Just("url(#a)".to_owned()),
        Just("NaN".to_owned()),
        Just("-1".to_owned()),
        Just("1e38".to_owned()),
        Just("1e-38".to_owned()),
        Just("100%".to_owned()),
        Just("0 0 1e9 1e-9".to_owned()),
        Just("M0 0 1 1 9 9z".to_owned()),
        Just("scale(1e30)".to_owned()),
        Just("matrix(0 0 0 0 0 0)".to_owned()),
        Just("rotate(45) skewX(90)".to_owned()),
        Just("3".to_owned()),
        Just("5 1".to_owned()),
        "[-0-9.eE ,MLCQAz%#()a-z]{0,16}",
    ];
    let attributes = proptest::collection::vec((key, value), 0..5);
    let one = move |children: String, (name, attributes): (&str, Vec<(&str, String)>)| {
        let mut seen = std::collections::BTreeMap::new();
        seen.extend(attributes);
        let attributes: String = seen.iter().map(|(key, value)| format!(" {key}=\"{value}\"")).collect();
        format!("<{name}{attributes}>{children}</{name}>")
    };
    let leaf = (name.clone(), attributes.clone()).prop_map(move |it| one("t\u{5d0}".to_owned(), it));
    leaf.prop_recursive(4, 24, 5, move |inner| {
        (
            proptest::collection::vec(inner, 0..5),
            (name.clone(), attributes.clone()),
        )
            .prop_map(move |(children, it)| one(children.concat(), it))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]
    #[test]
    fn any_document_is_answered(body in element(), more in element()) {
        let document = svg(&(body + &more));
        let text = match process(&document, "format=svg") {
            Ok(text) => String::from_utf8(text).unwrap(),
            Err(error) => {
                prop_assert_ne!(error.status(), 500, "{}", error);
                return Ok(());
            }
        };
        prop_assert_eq!(&sanitised(&text), &text);
        if let Err(error) = process(&document, "width=50,fit=contain,format=png") {
            prop_assert_ne!(error.status(), 500, "{}", error);
        }
    }

    #[test]
    fn any_text_is_survived(text in "<svg[ >][\\PC<>\"=#&;/!\\[\\]-]{0,200}") {
        let _ = process(&text, "format=png");
    }
}
