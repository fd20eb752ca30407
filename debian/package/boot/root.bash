# shellcheck shell=bash disable=SC2034,SC2154 # variables are those of all parts
# SPDX-License-Identifier: MIT
# The root: what is mounted, on which device, and whether that device alone is the root.

# mounted_at TARGET: sets number (MAJOR:MINOR), folder (of the file system), fstype, source, options of what is mounted
# there, the topmost. From mountinfo (proc_pid_mountinfo(5)).
mounted_at() {
    local numbers inside target rest
    number='' folder='' fstype='' source='' options=''
    while read -r _ _ numbers inside target rest; do
        [ "$target" = "$1" ] || continue
        read -r fstype source options <<<"${rest##* - }"
        number=$numbers folder=$inside
    done <"$R/proc/self/mountinfo"
}

# find_root: sets root_type, root_folder, root_device (its folder below /sys/devices), root_name, protected.
find_root() {
    local number folder fstype source options
    mounted_at /
    root_type=$fstype root_folder=$folder protected=''
    case $fstype,$options in overlay*lowerdir=/mnt/root-RO*) protected=yes; return ;; esac
    if [ -n "$number" ] && [ -e "$R/sys/dev/block/$number" ]; then
        root_device=$(readlink -f "$R/sys/dev/block/$number")
    elif [ -n "$source" ] && [ -e "$R/sys/class/block/${source##*/}" ]; then # btrfs has numbers of its own
        root_device=$(readlink -f "$R/sys/class/block/${source##*/}")
    else
        # A container, a folder in which an image is made: nothing can be installed there.
        [ -z "$quiet" ] || exit 0
        case $fstype in overlay | aufs | overlayroot)
            refuse "the root is ${source:-$fstype} ($fstype), which is no block device: another tool's overlay, or a container" \
                "switch that overlay off with the tool that made it (raspi-config, or overlayroot= in /etc/overlayroot.conf), restart, and try again"
            ;;
        esac
        refuse "the root is ${source:-unknown} (${fstype:-not mounted}), which is no block device" \
            "only a root on a partition can be protected: SD card, eMMC, USB, SATA, NVMe"
    fi
    root_name=${root_device##*/}
    case $root_name in
    dm-* | md* | loop* | bcache* | zram*)
        [ -z "$quiet" ] || exit 0
        refuse "the root is on $root_name, which the init in the initramfs cannot assemble" \
            "only a root directly on a partition can be protected"
        ;;
    esac
}

# whole_root: refuses a root that is more than this partition, or only a part of it.
whole_root() {
    local members=() usage status=0
    case $root_type in
    ext2 | ext3 | ext4 | f2fs | squashfs | erofs)
        [ "$root_folder" = / ] || refuse "the root is the folder $root_folder of $root_name, and the init mounts the whole partition" \
            "move the system to the top of its partition"
        ;;
    btrfs)
        members=("$R"/sys/fs/btrfs/*/devices/"$root_name")
        [ -e "${members[0]}" ] || unseen+=("whether the btrfs has more devices (/sys/fs/btrfs does not say)")
        members=("${members[0]%/*}"/*)
        [ ${#members[@]} -eq 1 ] || refuse "the root is a btrfs on ${#members[@]} devices, and the init mounts one" \
            "btrfs device remove DEVICE /, until one is left"
        ;;
    *) refuse "the root is $root_type, with which a protected boot has not been tested" "a root on ext4, f2fs or btrfs" ;;
    esac
    # Metadata at the end of the partition: the kernel mounts one half of a RAID 1 without a word.
    usage=$(blkid -p -o value -s USAGE "$R/dev/$root_name" 2>/dev/null) || status=$?
    case $status,$usage in
    0,filesystem) ;;
    0,raid) refuse "$root_name is mounted as the root, but it is a member of a RAID (blkid says so): writing to it alone breaks the RAID" \
        "where it is a remnant, remove it after a backup, from another system: wipefs /dev/$root_name shows the signatures" ;;
    8,*) refuse "blkid finds signatures of more than one kind on $root_name: what the next boot would mount is not certain" \
        "wipefs /dev/$root_name shows them; remove the remnant after a backup, from another system" ;;
    *) refuse "blkid finds no file system on $root_name" "blkid -p /dev/$root_name says why; apt install util-linux" ;;
    esac
    usr_in_root
}

# usr_in_root: refuses a /usr that is mounted: the init of the system is there before anything could mount it.
usr_in_root() {
    local number folder fstype source options words word file target
    mounted_at /usr
    target=$source
    while read -r file where _; do
        case $file in '#'*) continue ;; esac
        [ "$where" != /usr ] || target=$file
    done <<<"$(cat "$R/etc/fstab" 2>/dev/null)"
    split_words "$(<"$R/proc/cmdline")"
    for word in "${words[@]}"; do
        case $word in mount.usr=*) target=${word#*=} ;; esac
    done
    [ -z "$target" ] || refuse "/usr is a file system of its own ($target): today's initramfs mounts it, the new one does not" \
        "make it a part of the root: mount --bind / /mnt; cp -ax /usr/. /mnt/usr/; umount /mnt; take /usr out of /etc/fstab (and mount.usr= out of the command line), restart, and try again"
}

refuse_protected() {
    refuse "the root is protected: what is written now is lost at the next boot, and the boot partition must not change without it" \
        "overlayrootctl edit -- COMMAND, as in: overlayrootctl edit -- apt full-upgrade; or one writable boot (overlayrootctl disable --once)"
}

# link_to FOLDER: name of the link in /dev/disk/FOLDER that leads to the root.
link_to() {
    local link
    for link in "$R/dev/disk/$1"/*; do
        [ -L "$link" ] || continue
        [ "$(basename "$(readlink "$link")")" != "$root_name" ] || { echo "${link##*/}"; return; }
    done
    return 1
}
