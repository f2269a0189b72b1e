//! CSS colours (CSS Color Module Level 4, the sRGB notations).

use core::fmt;

/// A colour in sRGB with straight alpha.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Color {
    /// Red, 0 to 255.
    pub r: u8,
    /// Green, 0 to 255.
    pub g: u8,
    /// Blue, 0 to 255.
    pub b: u8,
    /// Opacity, 0 (transparent) to 255.
    pub a: u8,
}

impl Color {
    /// Opaque white.
    pub const WHITE: Self = Self {
        r: 255,
        g: 255,
        b: 255,
        a: 255,
    };
    /// Fully transparent.
    pub const TRANSPARENT: Self = Self { r: 0, g: 0, b: 0, a: 0 };

    /// Reads hexadecimal notation, a named colour, `transparent`, `rgb()`, `rgba()`, `hsl()`, `hsla()` or `hwb()`, with
    /// commas or spaces between the components.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Some(digits) = text.strip_prefix('#') {
            return hexadecimal(digits);
        }
        let lower = text.to_ascii_lowercase();
        let Some((name, arguments)) = lower.split_once('(') else {
            return if lower == "transparent" {
                Some(Self::TRANSPARENT)
            } else {
                named(&lower)
            };
        };
        let arguments = Arguments::parse(arguments.strip_suffix(')')?)?;
        match name {
            "rgb" | "rgba" => {
                let [r, g, b] = arguments.components;
                let channel = |value: Component| match value {
                    Component::Number(number) => Some(round(number)),
                    Component::Percent(percent) => Some(round(percent * 255.0 / 100.0)),
                    Component::Angle(_) => None,
                };
                Some(Self {
                    r: channel(r)?,
                    g: channel(g)?,
                    b: channel(b)?,
                    a: arguments.alpha,
                })
            }
            "hsl" | "hsla" => {
                let [hue, saturation, lightness] = arguments.components;
                let (saturation, lightness) = (saturation.fraction()?, lightness.fraction()?);
                let amplitude = saturation * lightness.min(1.0 - lightness);
                let hue = hue.degrees()?;
                let channel = |n: f64| {
                    let k = (n + hue / 30.0).rem_euclid(12.0);
                    round(255.0 * (lightness - amplitude * (k - 3.0).min(9.0 - k).clamp(-1.0, 1.0)))
                };
                Some(Self {
                    r: channel(0.0),
                    g: channel(8.0),
                    b: channel(4.0),
                    a: arguments.alpha,
                })
            }
            "hwb" => {
                let [hue, white, black] = arguments.components;
                let (white, black) = (white.fraction()?, black.fraction()?);
                let hue = hue.degrees()?;
                let channel = |n: f64| {
                    if white + black >= 1.0 {
                        return round(255.0 * white / (white + black));
                    }
                    let k = (n + hue / 30.0).rem_euclid(12.0);
                    let pure = 0.5 - 0.5 * (k - 3.0).min(9.0 - k).clamp(-1.0, 1.0);
                    round(255.0 * (pure * (1.0 - white - black) + white))
                };
                Some(Self {
                    r: channel(0.0),
                    g: channel(8.0),
                    b: channel(4.0),
                    a: arguments.alpha,
                })
            }
            _ => None,
        }
    }

    /// Whether nothing shines through.
    #[must_use]
    pub const fn is_opaque(self) -> bool {
        self.a == 255
    }
}

/// The normal form: `#rrggbb`, or `#rrggbbaa` where not opaque.
impl fmt::Display for Color {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "#{:02x}{:02x}{:02x}", self.r, self.g, self.b)?;
        if self.is_opaque() {
            Ok(())
        } else {
            write!(formatter, "{:02x}", self.a)
        }
    }
}

fn round(value: f64) -> u8 {
    // `as` saturates, and the value is finite: it comes from checked decimals.
    (value + 0.5).floor() as u8
}

fn hexadecimal(digits: &str) -> Option<Color> {
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let value = u32::from_str_radix(digits, 16).ok()?;
    let short = |shift: u32| ((value >> shift & 0xf) * 0x11) as u8;
    let [b0, b1, b2, b3] = value.to_be_bytes();
    match digits.len() {
        3 => Some(Color {
            r: short(8),
            g: short(4),
            b: short(0),
            a: 255,
        }),
        4 => Some(Color {
            r: short(12),
            g: short(8),
            b: short(4),
            a: short(0),
        }),
        6 => Some(Color {
            r: b1,
            g: b2,
            b: b3,
            a: 255,
        }),
        8 => Some(Color {
            r: b0,
            g: b1,
            b: b2,
            a: b3,
        }),
        _ => None,
    }
}

#[derive(Clone, Copy)]
enum Component {
    Number(f64),
    Percent(f64),
    /// Degrees.
    Angle(f64),
}

impl Component {
    fn parse(text: &str) -> Option<Self> {
        if text == "none" {
            return Some(Self::Number(0.0));
        }
        for (unit, degrees) in [
            ("deg", 1.0),
            ("grad", 0.9),
            ("rad", 180.0 / core::f64::consts::PI),
            ("turn", 360.0),
        ] {
            if let Some(number) = text.strip_suffix(unit) {
                return number_of(number).map(|number| Self::Angle(number * degrees));
            }
        }
        match text.strip_suffix('%') {
            Some(number) => number_of(number).map(Self::Percent),
            None => number_of(text).map(Self::Number),
        }
    }

    fn fraction(self) -> Option<f64> {
        match self {
            Self::Percent(value) | Self::Number(value) => Some((value / 100.0).clamp(0.0, 1.0)),
            Self::Angle(_) => None,
        }
    }

    fn degrees(self) -> Option<f64> {
        match self {
            Self::Number(value) | Self::Angle(value) => Some(value.rem_euclid(360.0)),
            Self::Percent(_) => None,
        }
    }
}

fn number_of(text: &str) -> Option<f64> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let plain =
        !digits.is_empty() && digits.len() <= 16 && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if plain { text.parse().ok() } else { None }
}

struct Arguments {
    components: [Component; 3],
    alpha: u8,
}

impl Arguments {
    /// `a, b, c[, alpha]` or `a b c[ / alpha]`; the two do not mix.
    fn parse(text: &str) -> Option<Self> {
        let (components, alpha): (Vec<&str>, Option<&str>) = if text.contains(',') {
            let mut parts: Vec<&str> = text.split(',').map(str::trim).collect();
            let alpha = if parts.len() == 4 { parts.pop() } else { None };
            (parts, alpha)
        } else {
            let (components, alpha) = text
                .split_once('/')
                .map_or((text, None), |(left, right)| (left, Some(right.trim())));
            (components.split_ascii_whitespace().collect(), alpha)
        };
        let [a, b, c] = components.as_slice() else { return None };
        let alpha = match alpha.map(Component::parse) {
            None => 255,
            Some(Some(Component::Number(number))) => round(255.0 * number),
            Some(Some(Component::Percent(percent))) => round(percent * 255.0 / 100.0),
            Some(_) => return None,
        };
        Some(Self {
            components: [Component::parse(a)?, Component::parse(b)?, Component::parse(c)?],
            alpha,
        })
    }
}

fn named(name: &str) -> Option<Color> {
    let index = NAMED.binary_search_by_key(&name, |(known, _)| known).ok()?;
    let [_, r, g, b] = NAMED.get(index)?.1.to_be_bytes();
    Some(Color { r, g, b, a: 255 })
}

/// The named colours, sorted by name.
#[rustfmt::skip]
const NAMED: [(&str, u32); 148] = [
    ("aliceblue", 0xf0_f8ff), ("antiquewhite", 0xfa_ebd7), ("aqua", 0x00_ffff), ("aquamarine", 0x7f_ffd4), ("azure", 0xf0_ffff),
    ("beige", 0xf5_f5dc), ("bisque", 0xff_e4c4), ("black", 0x00_0000), ("blanchedalmond", 0xff_ebcd), ("blue", 0x00_00ff),
    ("blueviolet", 0x8a_2be2), ("brown", 0xa5_2a2a), ("burlywood", 0xde_b887), ("cadetblue", 0x5f_9ea0), ("chartreuse", 0x7f_ff00),
    ("chocolate", 0xd2_691e), ("coral", 0xff_7f50), ("cornflowerblue", 0x64_95ed), ("cornsilk", 0xff_f8dc), ("crimson", 0xdc_143c),
    ("cyan", 0x00_ffff), ("darkblue", 0x00_008b), ("darkcyan", 0x00_8b8b), ("darkgoldenrod", 0xb8_860b), ("darkgray", 0xa9_a9a9),
    ("darkgreen", 0x00_6400), ("darkgrey", 0xa9_a9a9), ("darkkhaki", 0xbd_b76b), ("darkmagenta", 0x8b_008b), ("darkolivegreen", 0x55_6b2f),
    ("darkorange", 0xff_8c00), ("darkorchid", 0x99_32cc), ("darkred", 0x8b_0000), ("darksalmon", 0xe9_967a), ("darkseagreen", 0x8f_bc8f),
    ("darkslateblue", 0x48_3d8b), ("darkslategray", 0x2f_4f4f), ("darkslategrey", 0x2f_4f4f), ("darkturquoise", 0x00_ced1), ("darkviolet", 0x94_00d3),
    ("deeppink", 0xff_1493), ("deepskyblue", 0x00_bfff), ("dimgray", 0x69_6969), ("dimgrey", 0x69_6969), ("dodgerblue", 0x1e_90ff),
    ("firebrick", 0xb2_2222), ("floralwhite", 0xff_faf0), ("forestgreen", 0x22_8b22), ("fuchsia", 0xff_00ff), ("gainsboro", 0xdc_dcdc),
    ("ghostwhite", 0xf8_f8ff), ("gold", 0xff_d700), ("goldenrod", 0xda_a520), ("gray", 0x80_8080), ("green", 0x00_8000),
    ("greenyellow", 0xad_ff2f), ("grey", 0x80_8080), ("honeydew", 0xf0_fff0), ("hotpink", 0xff_69b4), ("indianred", 0xcd_5c5c),
    ("indigo", 0x4b_0082), ("ivory", 0xff_fff0), ("khaki", 0xf0_e68c), ("lavender", 0xe6_e6fa), ("lavenderblush", 0xff_f0f5),
    ("lawngreen", 0x7c_fc00), ("lemonchiffon", 0xff_facd), ("lightblue", 0xad_d8e6), ("lightcoral", 0xf0_8080), ("lightcyan", 0xe0_ffff),
    ("lightgoldenrodyellow", 0xfa_fad2), ("lightgray", 0xd3_d3d3), ("lightgreen", 0x90_ee90), ("lightgrey", 0xd3_d3d3), ("lightpink", 0xff_b6c1),
    ("lightsalmon", 0xff_a07a), ("lightseagreen", 0x20_b2aa), ("lightskyblue", 0x87_cefa), ("lightslategray", 0x77_8899), ("lightslategrey", 0x77_8899),
    ("lightsteelblue", 0xb0_c4de), ("lightyellow", 0xff_ffe0), ("lime", 0x00_ff00), ("limegreen", 0x32_cd32), ("linen", 0xfa_f0e6),
    ("magenta", 0xff_00ff), ("maroon", 0x80_0000), ("mediumaquamarine", 0x66_cdaa), ("mediumblue", 0x00_00cd), ("mediumorchid", 0xba_55d3),
    ("mediumpurple", 0x93_70db), ("mediumseagreen", 0x3c_b371), ("mediumslateblue", 0x7b_68ee), ("mediumspringgreen", 0x00_fa9a), ("mediumturquoise", 0x48_d1cc),
    ("mediumvioletred", 0xc7_1585), ("midnightblue", 0x19_1970), ("mintcream", 0xf5_fffa), ("mistyrose", 0xff_e4e1), ("moccasin", 0xff_e4b5),
    ("navajowhite", 0xff_dead), ("navy", 0x00_0080), ("oldlace", 0xfd_f5e6), ("olive", 0x80_8000), ("olivedrab", 0x6b_8e23),
    ("orange", 0xff_a500), ("orangered", 0xff_4500), ("orchid", 0xda_70d6), ("palegoldenrod", 0xee_e8aa), ("palegreen", 0x98_fb98),
    ("paleturquoise", 0xaf_eeee), ("palevioletred", 0xdb_7093), ("papayawhip", 0xff_efd5), ("peachpuff", 0xff_dab9), ("peru", 0xcd_853f),
    ("pink", 0xff_c0cb), ("plum", 0xdd_a0dd), ("powderblue", 0xb0_e0e6), ("purple", 0x80_0080), ("rebeccapurple", 0x66_3399),
    ("red", 0xff_0000), ("rosybrown", 0xbc_8f8f), ("royalblue", 0x41_69e1), ("saddlebrown", 0x8b_4513), ("salmon", 0xfa_8072),
    ("sandybrown", 0xf4_a460), ("seagreen", 0x2e_8b57), ("seashell", 0xff_f5ee), ("sienna", 0xa0_522d), ("silver", 0xc0_c0c0),
    ("skyblue", 0x87_ceeb), ("slateblue", 0x6a_5acd), ("slategray", 0x70_8090), ("slategrey", 0x70_8090), ("snow", 0xff_fafa),
    ("springgreen", 0x00_ff7f), ("steelblue", 0x46_82b4), ("tan", 0xd2_b48c), ("teal", 0x00_8080), ("thistle", 0xd8_bfd8),
    ("tomato", 0xff_6347), ("turquoise", 0x40_e0d0), ("violet", 0xee_82ee), ("wheat", 0xf5_deb3), ("white", 0xff_ffff),
    ("whitesmoke", 0xf5_f5f5), ("yellow", 0xff_ff00), ("yellowgreen", 0x9a_cd32),
];

#[cfg(test)]
mod tests {
    use super::{Color, NAMED};

    #[test]
    fn reads_every_notation() {
        for (text, normal) in [
            ("#F28C28", "#f28c28"),
            ("#abc", "#aabbcc"),
            ("#abc8", "#aabbcc88"),
            ("#11223344", "#11223344"),
            ("#112233ff", "#112233"),
            ("red", "#ff0000"),
            ("RebeccaPurple", "#663399"),
            ("transparent", "#00000000"),
            ("rgb(240,40,145)", "#f02891"),
            ("rgb(240 40 145)", "#f02891"),
            ("rgb(240 40 145 / 50%)", "#f0289180"),
            ("rgba(240, 40, 145, 0.5)", "#f0289180"),
            ("rgb(100%, 0%, 50%)", "#ff0080"),
            ("rgb(999, 0, 0)", "#ff0000"),
            ("hsl(120, 100%, 50%)", "#00ff00"),
            ("hsl(0.5turn 100% 50%)", "#00ffff"),
            ("hsla(-120deg 100% 50% / 0)", "#0000ff00"),
            ("hwb(0 0% 0%)", "#ff0000"),
            ("hwb(0 50% 50%)", "#808080"),
            ("hsl(none 0% 100%)", "#ffffff"),
        ] {
            assert_eq!(
                Color::parse(text).map(|color| color.to_string()).as_deref(),
                Some(normal),
                "{text}"
            );
        }
    }

    #[test]
    fn refuses_what_is_no_colour() {
        for text in [
            "",
            "#",
            "#12",
            "#12345",
            "#xyz",
            "#+12",
            "reddish",
            "rgb(1,2)",
            "rgb(1,2,3",
            "rgb(1 2,3)",
            "hsl(10%,1%,1%)",
            "rgb(1deg,2,3)",
            "lab(1 2 3)",
            "rgb(NaN,1,1)",
            "rgb(1e9,1,1)",
        ] {
            assert_eq!(Color::parse(text), None, "{text}");
        }
    }

    #[test]
    fn names_are_sorted_so_that_each_is_found() {
        assert!(NAMED.is_sorted());
        for (name, _) in NAMED {
            assert!(Color::parse(name).is_some(), "{name}");
        }
    }
}
