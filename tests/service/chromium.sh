#!/bin/sh
# Chromium loads two pages of its own for the address bar of each window, which no test looks at.
# Of several lists of disabled features it takes the last, so Playwright's is made longer.
for argument; do
    shift
    case $argument in
        --disable-features=*) argument=$argument,WebUIOmniboxPopup,WebUIOmniboxAimPopup ;;
    esac
    set -- "$@" "$argument"
done
exec chromium "$@"
