use super::*;
use proptest::prelude::*;

fn parse(segment: &str) -> ImageOptions {
    ImageOptions::parse(segment).unwrap_or_else(|errors| panic!("{segment}: {errors:?}"))
}

fn faults(segment: &str) -> Vec<(String, Fault)> {
    ImageOptions::parse(segment)
        .expect_err(segment)
        .into_iter()
        .map(|error| (error.option, error.fault))
        .collect()
}

#[test]
fn aliases_order_and_spelling_do_not_matter() {
    let normal = parse("width=400,height=300,quality=90,format=webp,background=%23ffffff,fit=cover").normal_form();
    assert_eq!(
        normal,
        "background=%23FFFFFF".to_lowercase() + ",fit=cover,format=webp,height=300,quality=90,width=400"
    );
    for same in [
        "w=400,h=300,q=90,f=webp,bg=white,fit=cover",
        "fit=cover,bg=rgb%28255%2C255%2C255%29,f=webp,q=high,h=0300,w=400",
        ",,w=400,,h=300,q=90,f=webp,bg=%23FFF,fit=cover,",
    ] {
        assert_eq!(parse(same).normal_form(), normal, "{same}");
    }
}

#[test]
fn defaults_are_dropped_but_quality_is_not() {
    assert_eq!(
        parse("fit=scale-down,g=0.5x.5,dpr=1.0,rotate=0,anim=true,sharpen=0,brightness=0,contrast=1,gamma=0,metadata=copyright,trim=0;0;0;0").normal_form(),
        ""
    );
    assert_eq!(parse("q=85,saturation=0").normal_form(), "quality=85,saturation=0");
}

#[test]
fn every_fault_is_listed() {
    assert_eq!(
        faults("w=0,h=12001,width=5,colour=red,fit,q=101,blur=0.5,rotate=45,bg=%zz,f=tiff,g=1.5x0"),
        [
            ("width", Fault::Value),
            ("height", Fault::Value),
            ("colour", Fault::Unknown),
            ("fit", Fault::Conflict),
            ("quality", Fault::Value),
            ("blur", Fault::Value),
            ("rotate", Fault::Value),
            ("bg", Fault::Value),
            ("format", Fault::Value),
            ("gravity", Fault::Value),
        ]
        .map(|(name, fault)| (name.to_owned(), fault))
    );
    assert_eq!(faults("w=4,width=4"), [("width".to_owned(), Fault::Duplicate)]);
    let [error] = ImageOptions::parse("h=12001").unwrap_err().try_into().unwrap();
    assert_eq!(error.to_string(), "height: '12001' is not valid: 1 to 12000");
}

#[test]
fn values_are_decoded_exactly_once() {
    assert_eq!(faults("w=%2534%30"), [("width".to_owned(), Fault::Value)]);
    assert_eq!(parse("w=%34%30").width, Some(Width::Pixels(40)));
    assert_eq!(faults("bg=%ff"), [("bg".to_owned(), Fault::Value)]);
    assert_eq!(faults("bg=%2"), [("bg".to_owned(), Fault::Value)]);
}

#[test]
fn a_gravity_has_one_spelling() {
    for (given, normal) in [
        ("left-top", "top-left"),
        ("0x0", "top-left"),
        ("1x0.5", "right"),
        ("face", "auto"),
        ("0.25x0.750", "0.25x0.75"),
    ] {
        assert_eq!(parse(&format!("g={given}")).normal_form(), format!("gravity={normal}"));
    }
}

#[test]
fn exp_and_sig_come_last_and_are_no_part_of_the_key() {
    let sig = "0123456789abcdef".repeat(4);
    let options = parse(&format!("w=40,exp=1700000000,sig={sig}"));
    assert_eq!(
        (options.exp, options.sig.as_deref(), options.normal_form().as_str()),
        (Some(1_700_000_000), Some(sig.as_str()), "width=40")
    );
    for (segment, name) in [
        (format!("exp=1,w=40,sig={sig}"), "exp"),
        (format!("sig={sig},w=40"), "sig"),
        (format!("sig={sig},exp=1"), "sig"),
        ("w=40,exp=1".to_owned(), "exp"),
        ("sig=00".to_owned(), "sig"),
        (format!("sig={}", sig.to_uppercase()), "sig"),
        (format!("sig={sig},sig={sig}"), "sig"),
    ] {
        assert!(faults(&segment).iter().any(|(option, _)| option == name), "{segment}");
    }
}

#[test]
fn a_preset_fills_what_is_not_given() {
    let preset = parse("w=1080,h=1080,fit=cover,f=jpeg,q=90,bg=white");
    let merged = parse("p=gofood,w=500,fit=scale-down").merge_under(&preset);
    assert_eq!(
        merged.normal_form(),
        "background=%23ffffff,format=jpeg,height=1080,quality=90,width=500"
    );
    // Before the merge an explicit default has to survive a round trip through the normal form.
    let sent = parse(&parse("p=gofood,fit=scale-down").normal_form());
    assert_eq!(sent.merge_under(&preset).fit, Some(Fit::ScaleDown));
}

#[test]
fn branding_needs_the_address_and_the_preset() {
    let branded = |address: &str, preset: &str| parse(address).merge_under(&parse(preset)).branding.map(|on| on.0);
    assert_eq!(branded("branding=true", "branding=true"), Some(true));
    assert_eq!(branded("branding=true", "branding=false"), Some(false));
    assert_eq!(branded("branding=false", "branding=true"), Some(false));
    assert_eq!(branded("", "branding=true"), Some(true));
    assert_eq!(branded("branding=true", ""), Some(true));
}

#[test]
fn who_says_how_to_trim_gets_nothing_of_the_presets_way() {
    for (address, preset, normal) in [
        ("trim=1;2;3;4", "trim=border,trim.border.keep=4", "trim=1;2;3;4"),
        ("trim.left=5", "trim=border,trim.border.color=red", "trim.left=5"),
        ("trim.left=5", "trim=1;2;3;4", "trim.left=5"),
        ("trim=border", "trim.left=5,trim.width=9", "trim=border"),
        (
            "trim=border",
            "trim=border,trim.border.keep=4",
            "trim=border,trim.border.keep=4",
        ),
        ("trim.left=5", "trim.left=7,trim.top=8", "trim.left=5,trim.top=8"),
        ("trim=0;0;0;0", "trim=border,trim.border.keep=4", ""),
    ] {
        assert_eq!(
            parse(address).merge_under(&parse(preset)).normal_form(),
            normal,
            "{address} over {preset}"
        );
    }
}

#[test]
fn options_that_contradict_each_other_are_refused() {
    assert_eq!(
        faults("trim=1;1;1;1,trim.left=4"),
        [("trim".to_owned(), Fault::Conflict)]
    );
    assert_eq!(
        faults("trim.border.keep=4"),
        [("trim.border.keep".to_owned(), Fault::Conflict)]
    );
    assert!(
        ImageOptions::parse("trim=border,trim.border.keep=4,trim.border.color=red,trim.border.tolerance=255").is_ok()
    );
}

#[test]
fn hostile_segments_are_bounded() {
    assert_eq!(faults(&"w=1,".repeat(10_000)).len(), 1);
    let [error] = ImageOptions::parse(&format!("{}=1", "x".repeat(5000)))
        .unwrap_err()
        .try_into()
        .unwrap();
    assert_eq!(error.option.len(), 64);
}

#[test]
fn names_are_sorted_as_the_normal_form_needs() {
    assert!(ImageOptions::NAMES.is_sorted());
}

/// One valid spelling of each option.
fn option() -> impl Strategy<Value = (usize, String)> {
    let percent = |text: String| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
    let side = prop_oneof![1u32..=12_000, Just(1), Just(12_000)];
    prop_oneof![
        (side.clone(), any::<bool>())
            .prop_map(|(value, long)| (0, format!("{}={value}", if long { "width" } else { "w" }))),
        side.prop_map(|value| (1, format!("h={value}"))),
        (1u8..=100).prop_map(|value| (2, format!("q={value}"))),
        prop_oneof![Just("cover"), Just("scale-down"), Just("pad"), Just("squeeze")]
            .prop_map(|value| (3, format!("fit={value}"))),
        (0u32..=1000, 0u32..=1000).prop_map(|(x, y)| (
            4,
            format!("gravity={}x{}", f64::from(x) / 1000.0, f64::from(y) / 1000.0)
        )),
        any::<[u8; 4]>()
            .prop_map(move |[r, g, b, a]| (5, format!("bg={}", percent(format!("#{r:02X}{g:02x}{b:02x}{a:02x}"))))),
        (100u32..=3000).prop_map(|value| (6, format!("dpr={}", f64::from(value) / 1000.0))),
        any::<[u16; 4]>().prop_map(|[t, r, b, l]| (
            7,
            format!("trim={};{};{};{}", t % 12_000, r % 12_000, b % 12_000, l % 12_000)
        )),
        (0u32..=100_000).prop_map(|value| (8, format!("saturation={}", f64::from(value) / 10_000.0))),
        (any::<[u8; 3]>(), 0u8..=200).prop_map(|([r, g, b], w)| (9, format!("border={w}:rgb%28{r}%20{g}%20{b}%29"))),
        (0u32..=100).prop_map(|opacity| (
            10,
            format!(
                "draw=t:YWJj;opacity={};gravity=top;color=red",
                f64::from(opacity) / 100.0
            )
        )),
        Just((11, "preset=gofood".to_owned())),
    ]
}

/// Options without a preset, and at most one way to trim.
fn options_of_a_preset() -> impl Strategy<Value = String> {
    let trim = prop_oneof![
        Just(""),
        Just("trim=1;2;3;4"),
        Just("trim=border"),
        Just("trim=border,trim.border.keep=4,trim.border.tolerance=9"),
        Just("trim.left=3,trim.width=9"),
        Just("trim=0;0;0;0"),
    ];
    let branding = prop_oneof![Just(""), Just("branding=true"), Just("branding=false")];
    (proptest::collection::vec(option(), 0..8), trim, branding).prop_map(|(mut options, trim, branding)| {
        options.retain(|(kind, _)| ![7, 11].contains(kind));
        options.sort_by_key(|(kind, _)| *kind);
        options.dedup_by_key(|(kind, _)| *kind);
        let texts = options.iter().map(|(_, text)| text.as_str());
        texts.chain([trim, branding]).collect::<Vec<_>>().join(",")
    })
}

proptest! {
    #[test]
    fn what_an_address_says_wins_over_its_preset(
        address in options_of_a_preset(),
        preset in options_of_a_preset(),
        allowed in any::<bool>(),
    ) {
        let allowed = allowed || preset.ends_with("branding=true");
        let given = parse(&format!("preset=a,{address}"));
        let filled = Preset::parse(&preset, allowed).unwrap().fill(given.clone());
        prop_assert_eq!(&filled.preset, &None);
        // Whatever was given is there as it was given; the mark alone also needs to be allowed.
        for part in parse(&address).parts() {
            prop_assert!(part.0 == "branding" || filled.parts().contains(&part), "{:?}", part);
        }
        prop_assert!(allowed || !filled.branding.is_some_and(|on| on.0));
        prop_assert_eq!(&given.merge_under(&filled), &filled);
        // What comes of it is an address like any other, in one spelling.
        let normal = filled.normal_form();
        prop_assert_eq!(parse(&normal).normal_form(), normal);
    }

    #[test]
    fn normal_form_is_idempotent_and_ignores_order(options in proptest::collection::vec(option(), 0..10), seed in any::<u64>()) {
        let mut options = options;
        options.sort_by_key(|(kind, _)| *kind);
        options.dedup_by_key(|(kind, _)| *kind);
        let segment = options.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>().join(",");
        let normal = parse(&segment).normal_form();
        prop_assert_eq!(parse(&normal).normal_form(), normal.clone());
        options.sort_by_key(|(kind, _)| (*kind as u64 + 1).wrapping_mul(seed | 1));
        let shuffled = options.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>().join(",");
        prop_assert_eq!(parse(&shuffled).normal_form(), normal);
    }

    #[test]
    fn any_segment_is_answered(segment in "\\PC{0,120}") {
        match ImageOptions::parse(&segment) {
            Ok(options) => {
                let normal = options.normal_form();
                prop_assert_eq!(parse(&normal).normal_form(), normal);
            }
            Err(errors) => prop_assert!(!errors.is_empty()),
        }
    }

    #[test]
    fn any_value_of_a_known_option_is_answered(index in 0..ImageOptions::NAMES.len(), value in "[-0-9a-z.;:#%(),= ]{0,24}") {
        let segment = format!("{}={value}", ImageOptions::NAMES[index]);
        if let Ok(options) = ImageOptions::parse(&segment) {
            let normal = options.normal_form();
            prop_assert_eq!(parse(&normal).normal_form(), normal);
        }
    }
}
