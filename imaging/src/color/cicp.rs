//! Profiles of the code points of ITU-T H.273, which AVIF has in place of an ICC profile.

use super::grey_profile;
use moxcms::{ColorProfile, ToneReprCurve, curve_from_gamma};

/// Light of diffuse white in cd/m², which HDR pictures are shown at as white (ITU-R BT.2408).
const WHITE: f64 = 203.0;

/// Points of a curve that is given as a table.
const POINTS: u32 = 4096;

/// The profile; `None` where the code points mean sRGB, are for the application to know, or say nothing.
///
/// The curves of television are taken for sRGB's, as browsers do. Of HDR what is brighter than white is cut off.
pub(super) fn profile(primaries: u16, transfer: u16, grey: bool) -> Option<ColorProfile> {
    let curve = match transfer {
        4 => Some(curve_from_gamma(2.2)),
        5 => Some(curve_from_gamma(2.8)),
        8 => Some(curve_from_gamma(1.0)),
        16 => Some(table(|value| perceptual_quantizer(value) / WHITE)),
        // Three quarters of the signal are white (BT.2408); what follows is the display's own gamma.
        18 => Some(table(|value| {
            libm::pow(hybrid_log_gamma(value) / hybrid_log_gamma(0.75), 1.2)
        })),
        _ => None,
    };
    let base = match primaries {
        9 => Some(ColorProfile::new_bt2020()),
        11 => Some(ColorProfile::new_dci_p3()),
        12 => Some(ColorProfile::new_display_p3()),
        _ => None,
    };
    if grey {
        return curve.map(grey_profile);
    }
    if curve.is_none() && base.is_none() {
        return None;
    }
    let srgb = ColorProfile::new_srgb();
    let curve = match curve {
        Some(curve) => curve,
        None => srgb.red_trc.clone()?,
    };
    let mut profile = base.unwrap_or(srgb);
    // Without it the transfer function would be taken from there.
    profile.cicp = None;
    profile.red_trc = Some(curve.clone());
    profile.green_trc = Some(curve.clone());
    profile.blue_trc = Some(curve);
    Some(profile)
}

/// A curve by its values, of which those above 1 are cut off.
fn table(light: impl Fn(f64) -> f64) -> ToneReprCurve {
    let value = |index: u32| {
        let light = light(f64::from(index) / f64::from(POINTS - 1));
        (light.clamp(0.0, 1.0) * 65_535.0 + 0.5) as u16
    };
    ToneReprCurve::Lut((0..POINTS).map(value).collect())
}

/// Light in cd/m² of a signal from 0 to 1, by SMPTE ST 2084.
fn perceptual_quantizer(signal: f64) -> f64 {
    const M1: f64 = 2610.0 / 16_384.0;
    const M2: f64 = 2523.0 / 4096.0 * 128.0;
    const C1: f64 = 3424.0 / 4096.0;
    const C2: f64 = 2413.0 / 4096.0 * 32.0;
    const C3: f64 = 2392.0 / 4096.0 * 32.0;
    let power = libm::pow(signal, 1.0 / M2);
    10_000.0 * libm::pow((power - C1).max(0.0) / (C2 - C3 * power), 1.0 / M1)
}

/// Light of the scene, from 0 to 1, of a signal, by ARIB STD-B67.
fn hybrid_log_gamma(signal: f64) -> f64 {
    const A: f64 = 0.178_832_77;
    const B: f64 = 1.0 - 4.0 * A;
    let c = 0.5 - A * libm::log(4.0 * A);
    if signal <= 0.5 {
        signal * signal / 3.0
    } else {
        (libm::exp((signal - c) / A) + B) / 12.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_is_where_the_standards_have_it() {
        // 58 % of PQ and 75 % of HLG (BT.2408, table 1).
        assert!((perceptual_quantizer(0.5806) - WHITE).abs() < 1.0);
        assert!((perceptual_quantizer(1.0) - 10_000.0).abs() < 1e-6);
        assert!((hybrid_log_gamma(0.75) - 0.265).abs() < 1e-3);
        assert!((hybrid_log_gamma(1.0) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn only_what_is_not_srgb_has_a_profile() {
        for (primaries, transfer) in [(1, 13), (2, 2), (1, 1), (6, 6), (1, 99)] {
            assert!(profile(primaries, transfer, false).is_none(), "{primaries} {transfer}");
        }
        for (primaries, transfer) in [(9, 14), (12, 13), (1, 8), (9, 16), (9, 18)] {
            assert!(profile(primaries, transfer, false).is_some(), "{primaries} {transfer}");
        }
        assert!(profile(9, 1, true).is_none());
        assert!(profile(1, 4, true).is_some());
    }
}
