# SPDX-License-Identifier: MIT
# Completion of overlayroot-boot(8) for bash.
_overlayroot_boot() {
    local word=${COMP_WORDS[COMP_CWORD]} words folder
    COMPREPLY=()
    case ${COMP_WORDS[COMP_CWORD - 1]} in
    --also | --kernel)
        words=''
        for folder in /lib/modules/*/modules.dep; do
            [ -e "$folder" ] || continue
            folder=${folder%/modules.dep}
            words+=" ${folder##*/}"
        done
        ;;
    --accept) words='overlays command-line boot-script initramfs' ;;
    initramfs)
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
        return
        ;;
    *)
        words='--help --version --dry-run --json --kernel --also --accept --if-installed'
        # One command.
        [[ " ${COMP_WORDS[*]:1:COMP_CWORD-1} " =~ \ (install|update|uninstall|status|initramfs)\  ]] ||
            words+=' install update uninstall status initramfs'
        ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
}
complete -F _overlayroot_boot overlayroot-boot
