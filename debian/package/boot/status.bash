# shellcheck shell=bash disable=SC2034,SC2154 # variables are those of all parts
# SPDX-License-Identifier: MIT
# status, as text and as JSON. The JSON has the shape of overlayrootctl's: one object with version and command.

# shown NAME [VALUE]: a line of status.
shown() { printf '%-15s %s\n' "$1" "${2:-none}"; }

status() {
    local show=shown script='' bytes='' kernel=''
    if [ -z "$protected" ] && [ -n "$boot" ]; then
        script='not overlayroot'
        ! installed || script=overlayroot
        bytes=$(stat -c %s "$(initramfs_there)" 2>/dev/null) || bytes=''
        kernel=$(kernels; echo "${releases[*]}") || kernel=''
    fi
    [ -z "$json" ] || { show=as_json; begin_json; }
    "$show" protected "${protected:-no}"
    # What a protected board has below its RAM is overlayrootctl's to say.
    if [ -n "$json" ] || [ -z "$protected" ]; then
        "$show" root "${root_name:+/dev/$root_name}"
        "$show" 'file system' "${root_name:+$root_type}"
        "$show" 'boot folder' "${boot#"$R"}"
        if [ -n "$json" ] || [ -n "$boot" ]; then
            "$show" 'boot script' "$script"
            "$show" 'initramfs bytes' "$bytes"
            "$show" kernel "$kernel"
        fi
    fi
    [ -z "$json" ] || printf '}\n'
}
