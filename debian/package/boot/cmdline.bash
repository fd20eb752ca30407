# shellcheck shell=bash disable=SC2034,SC2154 # variables are those of all parts
# SPDX-License-Identifier: MIT
# The kernel command line of today: its words, and which of them go to the next boot.

# split_words TEXT: sets `words` as the kernel does (next_arg() in lib/cmdline.c): a double quote anywhere in a word
# begins or ends a part in which blanks belong to the word; one that is not closed goes on to the end.
split_words() {
    local text=$1 word='' begun='' quoted='' char at
    words=()
    for ((at = 0; at < ${#text}; at++)); do
        char=${text:at:1}
        case $char in
        ' ' | $'\t' | $'\n' | $'\r' | $'\v' | $'\f')
            if [ -z "$quoted" ]; then
                [ -z "$begun" ] || words+=("$word")
                word='' begun=''
                continue
            fi
            ;;
        '"') if [ -z "$quoted" ]; then quoted=yes; else quoted=''; fi ;;
        esac
        word+=$char begun=yes
    done
    # The kernel closes a quote at the end; here words of ours may follow.
    [ -z "$begun" ] || words+=("$word${quoted:+\"}")
}

# key WORD: the name of a parameter, without the quote that a word may begin with.
key() {
    local name=${1#\"}
    printf '%s\n' "${name%%=*}"
}

# old_only WORD: says what a word of the command line was for that has no meaning for the next boot; fails for others.
old_only() {
    case $(key "$1") in
    resume | resume_offset | noresume) echo "a protected board cannot wake up from hibernation" ;;
    break | rd.break) echo "a shell in the old initramfs" ;;
    cryptdevice | crypto | cryptkey | cryptroot | cryptopts | rd.luks | rd.luks.*) echo "encrypted devices, opened by the old initramfs" ;;
    zfs | bootfs | rd.zfs*) echo "ZFS, for the old initramfs" ;;
    nfsroot | nfsrootdebug | netboot) echo "a root on the network, for the old initramfs" ;;
    rd.lvm | rd.lvm.* | rd.md | rd.md.* | rd.dm | rd.dm.*) echo "LVM, RAID and device-mapper, for the old initramfs" ;;
    overlayroot | overlayroot_cfgdisk | rd.overlay | rd.overlayfs | rd.live.*) echo "another tool's overlay" ;;
    rdinit) echo "the program of the old initramfs" ;;
    *) return 1 ;;
    esac
}

# pass_on WORD: whether a word goes into ofs_bootargs. What the boot script or the init says itself does not.
pass_on() {
    local word=$1 why
    case ${word#\"} in
    root=* | ofs_root=* | rootwait | rootwait=* | ro | rw | panic=* | initrd=* | BOOT_IMAGE=* | overlayfs=* | ofs-* | ofs_* | boot=local | noinitrd) return 1 ;;
    mount.usr=* | mount.usrfstype=* | mount.usrflags=*) return 1 ;; # refused before
    boot=*)
        lost initramfs "the command line says $word: today's initramfs boots in a way of its own" \
            "take $word out where it is set, restart, and try again"
        return 1
        ;;
    esac
    if why=$(old_only "$word"); then
        note "$word of the command line is not passed on: $why"
        return 1
    fi
    case $word in
    ip=* | nfsaddrs=*) note "$word: today's initramfs may set the network up by it; from now on only a kernel with CONFIG_IP_PNP does" ;;
    *[\'\\]*)
        lost command-line "the command line has $word, and U-Boot's shell takes ' and \\ for itself" \
            "write it without them, restart, and try again"
        return 1
        ;;
    esac
}

# passed_bootargs PLACE TEXT HOW: refuses words of U-Boot's that would reach the next boot beside ours, and turn against it.
# (Of overlayfs= and the like the last one counts, which is ours; and an empty root= takes theirs back.)
passed_bootargs() {
    local place=$1 words word quotes=${2//[!\"]/}
    [ $((${#quotes} % 2)) -eq 0 ] || refuse "bootargs in $place has a quote that is not closed" "close it: $3"
    split_words "$2"
    for word in "${words[@]}"; do
        case ${word#\"} in
        rdinit=* | ofs[-_]root=*) refuse "$place has $word in bootargs, which the new boot script passes on, too" "take that word out: $3" ;;
        -- | *[\'\\]*)
            refuse "$place has $word in bootargs: U-Boot or the kernel would read what follows in another way" \
                "take that word out: $3"
            ;;
        esac
    done
}

# command_line: sets `console` and `left`, the words for ofs_bootargs.
command_line() {
    local text words word fromboot=() own longest
    console='' left=()
    text=$(<"$R/proc/cmdline")
    built_in_command_line "$text"
    split_words "$(variable bootargs)"
    fromboot=("${words[@]}")
    split_words "$text"
    for word in "${words[@]}"; do
        case $word in
        --)
            lost command-line "the command line has words for the init of the system (behind --), where the new boot script would add its own" \
                "take -- out (single, emergency and a number work without it, too), restart, and try again"
            break
            ;;
        console=*) [ -z "$console" ] || left+=("console=$console"); console=${word#*=}; continue ;;
        esac
        pass_on "$word" || continue
        for own in "${fromboot[@]}"; do [ "$own" != "$word" ] || continue 2; done
        left+=("$word")
    done
    subvolume
    # The kernel has room for 1024 characters on ARM (COMMAND_LINE_SIZE), and some 300 of them are ours.
    longest="$(variable bootargs) ${left[*]}"
    [ ${#longest} -le 700 ] ||
        lost command-line "the command line is ${#longest} characters without ours; the kernel takes 1024 in all" \
            "shorten it, restart, and try again"
}

# built_in_command_line TEXT: refuses a kernel that does not take the boot script's words.
built_in_command_line() {
    local words word taken given=$R/proc/device-tree/chosen/bootargs
    [ -e "$given" ] || { unseen+=("what U-Boot gave to the kernel as command line"); return 0; }
    split_words "$1"
    taken=$(printf '\n%s' "${words[@]}")$'\n'
    split_words "$(tr -d '\0' <"$given")"
    for word in "${words[@]}"; do
        [[ $taken == *$'\n'"$word"$'\n'* ]] || refuse "the kernel has not taken $word from U-Boot: it has a command line of its own built in, or that one is too long" \
            "a kernel without CONFIG_CMDLINE_FORCE, or fewer words"
    done
}

# subvolume: adds the btrfs subvolume that is / to rootflags, unless one is named.
subvolume() {
    local at
    [ "$root_type" = btrfs ] && [ "$root_folder" != / ] || return 0
    for at in "${!left[@]}"; do
        case ${left[at]} in
        rootflags=*subvol=* | rootflags=*subvolid=*) return 0 ;;
        rootflags=*) left[at]+=,subvol=$root_folder; return 0 ;;
        esac
    done
    left=("rootflags=subvol=$root_folder" "${left[@]}")
}
