"""MMSegmentation's own train.py, where mim looks for it: mim train mmseg_proto CONFIG."""

from mmseg_proto.apis.host_scripts import run_host_script

if __name__ == "__main__":
    run_host_script("train.py")
