//! The elements, attributes and properties that are known, and so kept. What runs, moves, links or embeds is not here.

/// Sorted.
#[rustfmt::skip]
const ELEMENTS: [&str; 52] = [
    "circle", "clipPath", "defs", "desc", "ellipse", "feBlend", "feColorMatrix", "feComponentTransfer", "feComposite",
    "feConvolveMatrix", "feDiffuseLighting", "feDisplacementMap", "feDistantLight", "feDropShadow", "feFlood",
    "feFuncA", "feFuncB", "feFuncG", "feFuncR", "feGaussianBlur", "feImage", "feMerge", "feMergeNode", "feMorphology",
    "feOffset", "fePointLight", "feSpecularLighting", "feSpotLight", "feTile", "feTurbulence", "filter", "g", "image",
    "line", "linearGradient", "marker", "mask", "path", "pattern", "polygon", "polyline", "radialGradient", "rect",
    "stop", "svg", "switch", "symbol", "text", "textPath", "title", "tspan", "use",
];

/// Sorted. A property may stand as an attribute too; `href`, `style` and `xml:space` have rules of their own.
#[rustfmt::skip]
const ATTRIBUTES: [&str; 96] = [
    "amplitude", "azimuth", "baseFrequency", "bias", "clipPathUnits", "cx", "cy", "d", "diffuseConstant", "divisor",
    "dx", "dy", "edgeMode", "elevation", "exponent", "filterUnits", "fr", "fx", "fy", "gradientTransform",
    "gradientUnits", "height", "id", "in", "in2", "intercept", "k1", "k2", "k3", "k4", "kernelMatrix",
    "kernelUnitLength", "lengthAdjust", "limitingConeAngle", "markerHeight", "markerUnits", "markerWidth",
    "maskContentUnits", "maskUnits", "method", "mode", "numOctaves", "offset", "operator", "order", "orient",
    "pathLength", "patternContentUnits", "patternTransform", "patternUnits", "points", "pointsAtX", "pointsAtY",
    "pointsAtZ", "preserveAlpha", "preserveAspectRatio", "primitiveUnits", "r", "radius", "refX", "refY", "result",
    "rotate", "rx", "ry", "scale", "seed", "side", "slope", "spacing", "specularConstant", "specularExponent",
    "spreadMethod", "startOffset", "stdDeviation", "stitchTiles", "surfaceScale", "systemLanguage", "tableValues",
    "targetX", "targetY", "textLength", "type", "values", "version", "viewBox", "width", "x", "x1", "x2",
    "xChannelSelector", "y", "y1", "y2", "yChannelSelector", "z",
];

/// Sorted.
#[rustfmt::skip]
const PROPERTIES: [&str; 66] = [
    "alignment-baseline", "baseline-shift", "clip-path", "clip-rule", "color", "color-interpolation",
    "color-interpolation-filters", "color-rendering", "direction", "display", "dominant-baseline",
    "enable-background", "fill", "fill-opacity", "fill-rule", "filter", "flood-color", "flood-opacity", "font",
    "font-family", "font-feature-settings", "font-kerning", "font-size", "font-size-adjust", "font-stretch",
    "font-style", "font-variant", "font-weight", "image-rendering", "isolation", "letter-spacing", "lighting-color",
    "line-height", "marker", "marker-end", "marker-mid", "marker-start", "mask", "mask-type", "mix-blend-mode",
    "opacity", "overflow", "paint-order", "shape-rendering", "stop-color", "stop-opacity", "stroke",
    "stroke-dasharray", "stroke-dashoffset", "stroke-linecap", "stroke-linejoin", "stroke-miterlimit",
    "stroke-opacity", "stroke-width", "text-anchor", "text-decoration", "text-rendering", "transform",
    "transform-box", "transform-origin", "unicode-bidi", "vector-effect", "visibility", "white-space", "word-spacing",
    "writing-mode",
];

fn find(list: &'static [&'static str], name: &str) -> Option<&'static str> {
    list.binary_search(&name)
        .ok()
        .and_then(|index| list.get(index))
        .copied()
}

/// What an element is written as. A link is a group: it leads nowhere.
pub(super) fn element(name: &str) -> Option<&'static str> {
    if name == "a" { Some("g") } else { find(&ELEMENTS, name) }
}

pub(super) fn attribute(name: &str) -> Option<&'static str> {
    find(&ATTRIBUTES, name).or_else(|| property(name))
}

pub(super) fn property(name: &str) -> Option<&'static str> {
    find(&PROPERTIES, name)
}

/// Whether an element is only drawn where something refers to it.
pub(super) fn is_drawn_by_reference(name: &str) -> bool {
    matches!(
        name,
        "clipPath" | "defs" | "filter" | "linearGradient" | "marker" | "mask" | "pattern" | "radialGradient" | "symbol"
    )
}

/// Whether an element itself leaves pixels, so that it is filled and stroked.
pub(super) fn is_shape(name: &str) -> bool {
    matches!(
        name,
        "circle" | "ellipse" | "line" | "path" | "polygon" | "polyline" | "rect" | "text" | "textPath" | "tspan"
    )
}

/// Whether an element's text is drawn.
pub(super) fn has_text(name: &str) -> bool {
    matches!(name, "desc" | "text" | "textPath" | "title" | "tspan")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_are_sorted() {
        assert!(ELEMENTS.is_sorted() && ATTRIBUTES.is_sorted() && PROPERTIES.is_sorted());
    }

    #[test]
    fn nothing_that_runs_or_leads_elsewhere_is_known() {
        for name in [
            "script",
            "foreignObject",
            "animate",
            "set",
            "iframe",
            "style",
            "handler",
            "object",
        ] {
            assert_eq!(element(name), None, "{name}");
        }
        for name in [
            "onload",
            "onclick",
            "href",
            "src",
            "behavior",
            "-moz-binding",
            "begin",
            "class",
            "style",
        ] {
            assert_eq!(attribute(name), None, "{name}");
        }
        assert_eq!(element("a"), Some("g"));
    }
}
