# CPython on musl, into $PREFIX, from Debian's source packages: by musl.py, in a Debian root.
set -e
test -d sources || {
    sed 's/^deb /deb-src /' /etc/apt/sources.list > list
    mv list /etc/apt/sources.list.d/sources.list
    apt-get -q -o Acquire::Check-Valid-Until=false update
    mkdir sources.half
    (cd sources.half; apt-get -q source --tar-only --only-source python3.13 libffi zlib)
    mv sources.half sources
}
rm -rf built include; mkdir built include
ln -s /usr/include/linux /usr/include/asm-generic /usr/include/x86_64-linux-gnu/asm include
for archive in sources/*.orig.tar.?z; do tar -C built -xf "$archive"; done
export CC=$PWD/cc PKG_CONFIG_LIBDIR=$PREFIX/lib/pkgconfig
cd built/libffi-*
autoreconf -i
./configure -q --prefix="$PREFIX" --build=x86_64-linux-musl --disable-docs --disable-multi-os-directory
make -s install
cd ../zlib-*
./configure --prefix="$PREFIX"
make -s install
cd ../Python-*
./configure -q --prefix="$PREFIX" --build=x86_64-linux-musl --disable-test-modules --without-ensurepip \
    CPPFLAGS="-I$PREFIX/include" LDFLAGS="-L$PREFIX/lib -Wl,-rpath,$PREFIX/lib"
make -s -j2
make -s install
cd ../..; rm -rf built
