"""Images: pulled, loaded or imported once, unpacked once, and a root file system for each container.

    references  what a person calls an image (pure)        documents   OCI and Docker JSON -> model.Image (pure)
    instructions  ``import --change`` lines (pure)         selection   filters of ``ls`` and ``prune`` (pure)
    blobs       files named by their digest                catalog     which images and tags exist, on disk
    store       ImageStore: all of this as one face        removal     what untag, rmi and prune may do (pure)
    registry    pull and push                              skopeo      the program that speaks to registries
    login       whether a registry knows a user
    archives    load and import                            saving      ``save``
    archive_layout  what an archive's members mean (pure)
    unpacker    the child program that reads hostile tars  extraction, compression   its two halves
    unpacking   runs that child                            storage     the face of a storage driver
    overlay     layers and overlayfs roots                 copying     plain copies where overlayfs cannot work
    rootfs      one container's root                       inside      paths resolved inside a root
    upper       what a container changed                   trees       whole folders copied and measured
    face        what goes in and out of the store

Below the data-root: ``images/`` (catalog, blobs, staging) and one folder a storage driver (``overlay/`` or
``copy/``). Layer blobs are kept as they came, so that push and save give back the very same digests, and a pull
downloads only what is missing; that costs the compressed size once more on disk.
"""
