//! A document with a bit of everything that SVG draws.

/// An SVG of this size, with soft edges, transparency, text and a filter.
#[must_use]
pub fn svg(width: u32, height: u32) -> String {
    format!(
        "<?xml version=\"1.0\"?>\n<!DOCTYPE svg PUBLIC \"-//W3C//DTD SVG 1.1//EN\" \"svg11.dtd\">\n\
         <svg xmlns=\"http://www.w3.org/2000/svg\" xmlns:xlink=\"http://www.w3.org/1999/xlink\" width=\"{width}\" \
         height=\"{height}\" viewBox=\"0 0 120 90\" preserveAspectRatio=\"none\"><style>.ring{{fill:none;stroke:#2b3a67}} \
         #frame &gt; text{{fill:#2b3a67}}</style><defs><linearGradient id=\"sky\" x2=\"0\" y2=\"1\"><stop stop-color=\"#f28c28\"/>\
         <stop offset=\"1\" stop-color=\"#2b3a67\" stop-opacity=\"0.4\"/></linearGradient><radialGradient id=\"sun\">\
         <stop stop-color=\"#fff\"/><stop offset=\"1\" stop-color=\"#fc0\" stop-opacity=\"0\"/></radialGradient>\
         <pattern id=\"dots\" width=\"7\" height=\"7\" patternUnits=\"userSpaceOnUse\"><circle cx=\"3\" cy=\"3\" r=\"2\"/></pattern>\
         <filter id=\"soft\"><feGaussianBlur stdDeviation=\"1.5\"/></filter><clipPath id=\"round\"><circle cx=\"90\" cy=\"60\" r=\"22\"/>\
         </clipPath><mask id=\"fade\"><rect width=\"120\" height=\"90\" fill=\"url(#sun)\"/></mask></defs>\
         <rect width=\"120\" height=\"70\" fill=\"url(#sky)\"/><circle cx=\"30\" cy=\"30\" r=\"25\" fill=\"url(#sun)\"/>\
         <g clip-path=\"url(#round)\"><rect x=\"60\" y=\"30\" width=\"60\" height=\"60\" fill=\"url(#dots)\" opacity=\"0.7\"/></g>\
         <path class=\"ring\" d=\"M10 80C40 20 80 120 110 50A20 12 30 0 1 70 40Z\" stroke-width=\"2.5\" stroke-dasharray=\"6 2\"/>\
         <g filter=\"url(#soft)\" transform=\"rotate(12 60 45)\"><rect id=\"bar\" x=\"20\" y=\"50\" width=\"50\" height=\"9\" fill=\"#0a7\"/></g>\
         <use xlink:href=\"#bar\" y=\"-30\" fill-opacity=\"0.5\" mask=\"url(#fade)\"/>\
         <g id=\"frame\"><text x=\"60\" y=\"25\" font-size=\"14\" text-anchor=\"middle\">Kado Ωж שלום</text></g>\
         <script>unknown()</script></svg>\n"
    )
}
