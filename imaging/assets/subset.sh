#!/bin/sh
# Makes the fonts in this folder from Debian's package fonts-noto-core, version 20201225-1, with fontTools 4.
# Usage: subset.sh <folder with the package's NotoSans*.ttf>
set -eu
here=$(dirname "$0")
subset() {
    pyftsubset "$1/$2-Regular.ttf" --output-file="$here/$2.ttf" --unicodes="$3" --layout-features="$4" \
        --no-hinting --notdef-outline --no-recalc-timestamp
}
marks='ccmp,locl,kern,liga,mark,mkmk'
# Latin with its extensions and IPA's modifiers, combining marks, Greek, Cyrillic, punctuation, currencies, arrows.
subset "$1" NotoSans 'U+0020-007E,U+00A0-024F,U+0259,U+02B0-036F,U+0370-052F,U+1E00-1FFF,U+2000-209F,U+20A0-20C0,U+2100-218F,U+2190-2193,U+2212,U+25CC,U+FB00-FB06,U+FFFD' "$marks"
subset "$1" NotoSansArabic 'U+0020,U+00A0,U+0600-06FF,U+200C-200F' "$marks,rlig,calt,init,medi,fina,isol"
subset "$1" NotoSansHebrew 'U+0020,U+00A0,U+0590-05FF,U+200C-200F,U+20AA,U+FB1D-FB4F' "$marks"
