#!/usr/bin/env bash
# Checks that the library compiles for other systems: each target without features and with all of them.
#
#   scripts/check_targets.sh [TARGET]...
#
# It proves that types, attributes and system interfaces fit together there, not that the library links or runs.
#
# Where rustup has the standard library of a target, that is used. Else it is built from source by Debian's compiler for
# browsers, which comes with that source; C code of dependencies is compiled by the zig of PyPI. Both are downloaded by
# apt-get and pip into CHECK_TARGETS_DIR and unpacked there, without installing anything; if the variable is not set, into
# a folder that is removed at the end. About 350 MB are downloaded, and 2 GB needed on the disk.
set -euo pipefail
cd "$(dirname "$0")/.."

ALL=(x86_64-pc-windows-gnu x86_64-pc-windows-msvc x86_64-apple-darwin x86_64-unknown-freebsd aarch64-unknown-linux-gnu)
[ $# -gt 0 ] && targets=("$@") || targets=("${ALL[@]}")

if [ -n "${CHECK_TARGETS_DIR:-}" ]; then
    mkdir -p "$CHECK_TARGETS_DIR"
    dir=$(cd "$CHECK_TARGETS_DIR" && pwd)
else
    dir=$(mktemp -d)
    trap 'rm -rf "$dir"' EXIT
fi
root=$dir/root
lib=$root/usr/lib/x86_64-linux-gnu

fail() {
    echo "error: $*" >&2
    exit 1
}

# The packages whose names carry a version: the shared libraries of the compiler.
versioned() {
    apt-cache depends "$1" | grep -oE "$2[0-9.]+" | sort -u
}

# Debian's compiler, its library as source, and the import library tool of Windows.
fetch_compiler() {
    [ -x "$root/usr/bin/rustc" ] && return
    command -v apt-get >/dev/null || fail "no apt-get, and rustup does not have the target"
    local std llvm
    std=$(versioned libstd-rust-web-dev libstd-rust-web-) || fail "apt-get does not know rustc-web; try apt-get update"
    llvm=$(versioned "$std" libllvm)
    mkdir -p "$dir/debs" "$root"
    (cd "$dir/debs" && apt-get download -q rustc-web rust-web-src libstd-rust-web-dev "$std" "$llvm" \
        binutils-mingw-w64-x86-64 2>&1 | grep -v unsandboxed)
    for package in "$dir"/debs/*.deb; do
        dpkg -x "$package" "$root"
    done
    rm -r "$dir/debs"
}

fetch_zig() {
    [ -x "$dir/zig/ziglang/zig" ] && return
    python3 -m pip install --quiet --no-deps --root-user-action ignore --target "$dir/zig" ziglang
}

# zig's name for a target.
zig_name() {
    case $1 in
    *-windows-*) echo "${1%%-*}-windows-gnu" ;;
    *-apple-darwin) echo "${1%%-*}-macos" ;;
    *-freebsd) echo "${1%%-*}-freebsd" ;;
    *-linux-*) echo "${1%%-*}-linux-${1##*-}" ;;
    *) fail "zig's name for $1 is not known" ;;
    esac
}

# Names a C compiler for a target, as the cc crate looks for it. zig refuses some of the flags that it is given.
use_zig() {
    local target=$1 wrapper=$dir/cc-$1 name=${1//-/_} archiver
    cat >"$wrapper" <<END
#!/usr/bin/env bash
flags=()
for flag in "\$@"; do
    case \$flag in
    --target=* | -march=* | -mmacosx-version-min=*) ;;
    *) flags+=("\$flag") ;;
    esac
done
exec "$dir/zig/ziglang/zig" cc -target $(zig_name "$target") "\${flags[@]}"
END
    # Microsoft's archiver has options of its own.
    [[ $1 == *-msvc ]] && archiver=lib || archiver=ar
    printf '#!/bin/sh\nexec "%s" %s "$@"\n' "$dir/zig/ziglang/zig" "$archiver" >"$dir/$archiver"
    chmod +x "$wrapper" "$dir/$archiver"
    export "CC_$name=$wrapper" "AR_$name=$dir/$archiver"
}

needs_c() {
    cargo tree --target "$1" --edges normal,build --prefix none --all-features 2>/dev/null | grep -q '^cc '
}

check() {
    local target=$1 features=$2 build_std=()
    if ! rustup target list --installed 2>/dev/null | grep -qx "$target"; then
        fetch_compiler
        build_std=(-Zbuild-std)
        export RUSTC=$root/usr/bin/rustc RUSTC_BOOTSTRAP=1 LD_LIBRARY_PATH=$lib PATH=$PATH:$root/usr/bin
    fi
    if needs_c "$target"; then
        fetch_zig
        use_zig "$target"
    fi
    RUSTFLAGS="-D warnings" cargo check --quiet --lib "$features" "${build_std[@]}" --target "$target"
}

export CARGO_TARGET_DIR=$dir/target
for target in "${targets[@]}"; do
    for features in --no-default-features --all-features; do
        start=$SECONDS
        # In a subshell: what one target needs in its environment is not for the next.
        (check "$target" "$features") || fail "$target does not compile with $features"
        echo "$target $features: compiles ($((SECONDS - start)) s)"
    done
done
